# Short cells, to break off and to go on with.
variable "measure" {
  type    = duration
  default = "1s"
}
experiment "drill" {
  seed = 3
  matrix { devices = [2, 3, 4] }
  phases {
    warmup  = "0s"
    measure = var.measure
    drain   = "3s"
  }
}
node "master" { count = 1 }
node "worker" { count = 1 }
node "iot" { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = 1
  rate  = "10/s"
  payload { size = 200 }
}
customers {
  on    = node.customer
  count = 1
  via   = component.broker
}
