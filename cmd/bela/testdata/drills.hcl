# A campaign of two cells over the chain from devices through broker, gateway and
# hub to customers, for what is done to it while it runs.
variable "measure" {
  type    = duration
  default = "20s"
}
variable "lease" {
  type    = duration
  default = "2m"
}
variable "keep" {
  type    = duration
  default = "30m"
}
variable "lost" {
  default = "stop"
}
experiment "drills" {
  seed         = 11
  retry        = 3
  on_node_lost = var.lost
  matrix { devices = [4, 6] }
  phases {
    warmup  = "1s"
    measure = var.measure
    drain   = "10s"
  }
}
node "master" { count = 1 }
node "worker" { count = 1 }
node "iot" { count = 2 }
node "customer" { count = 1 }
ssh {
  lease = var.lease
  keep  = var.keep
}
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "gateway" {
  uses = platform.gateway
  on   = node.worker
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = 1
  rate  = "5/s"
  payload { size = 256 }
}
customers {
  on    = node.customer
  count = 1
  via   = component.broker
}
