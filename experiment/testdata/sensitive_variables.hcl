# A variable is written to variables.json unless it is declared sensitive itself.
variable "password" {
  default = "hunter2"
}

variable "token" {
  default   = "t"
  sensitive = true
}

locals {
  login = "bela:${var.password}"
}

experiment "secrets" {
  phases { measure = "1s" }
}

node "worker" { count = 1 }

component "broker" {
  command = ["broker"]
  on      = node.worker
  port    = 1883
  env = {
    DIRECT  = sensitive(var.password)
    LOCAL   = sensitive("x-${local.login}")
    INDEX   = sensitive(var["password"])
    GOOD    = sensitive(var.token)
    LITERAL = sensitive("hunter3")
  }
}

devices {
  on    = node.worker
  count = 1
  via   = component.broker
  rate  = "1/s"
}

customers {
  on    = node.worker
  count = 1
  via   = component.broker
}
