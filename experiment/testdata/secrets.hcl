# Secrets in the file are masked where lines are shown, and refused where they
# would be shown later.
variable "password" {
  default   = "hunter2"
  sensitive = true
}
variable "pin" {
  type      = number
  default   = "hunter3"
  sensitive = true
}
experiment "e" {
  matrix {
    login = [var.password]
  }
}
node "worker" { count = 1 }
node "iot" { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "feed" {
  command = ["/bin/feed", "--password", var.password]
  on      = node.worker
  env     = { PASSWORD = var.password }
}
devices {
  on    = node.iot
  count = 1
  topic = "iot/${var.password}"
}
customers {
  on    = node.customer
  count = 1
}
influxdb {
  url   = "http://user:hunter4@influx:8086"
  token = { secret = "hunter5" }
}
expect "secret" {
  that = var.password == "x"
}
