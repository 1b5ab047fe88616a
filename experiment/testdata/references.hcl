# Names that do not exist, or not here.
variable "hosts" {
  type    = list(string)
  default = ["10.0.0.1"]
}
locals {
  load  = cell.devices * 2
  again = local.laod
}
experiment "e" {
  seed = cell.devices
  matrix {
    devices = [1, 2]
    rate    = cell.devices
    exclude {
      when = cell.devcies > 1
    }
  }
}
node "worker" { count = local.load }
node "iot" { hosts = var.host }
node "customer" { count = 1 }
component "broker" {
  uses = broker
  on   = node.worker.first
}
component "gateway" {
  uses = platform.gateway
  on   = node.worker
  links = {
    broker = component.brokr
    stan   = component.broker
    brocer = component.broker
  }
}
devices {
  on    = node.iot
  count = cell.repetition
  via   = component.broker
}
customers {
  on    = node.customer
  count = min(1, "x")
  via   = components.broker
}
expect "unknown" {
  that = cell.device > 1 || component.broker.cpu_mcpu_maen < 4 || component.broker == 1
}
expect "no condition" {
  that = dropped
}
expect "no names" {
  that = maxx(dropped, late) == 0
}
