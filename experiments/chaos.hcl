# What does it cost when a part of the platform dies under load, and how long
# does it take to come back?
#
#     bela run experiments/chaos.hcl
#     bela run experiments/chaos.hcl -var measure=15s      # a short look
#
# One cell is left alone, for comparison. In the others a process is killed a
# quarter into the measured window, and started again three seconds later: one of
# two gateways, both of them, the broker, the hub. The report says for each fault
# how many messages it cost, during and after, and how long until as much arrived
# again as before. docs/experiment-file.md has all kinds of faults, and
# docs/metrics.md says how a recovery is told.

variable "measure" {
  type        = duration
  default     = "3m"
  description = "how long each cell is measured"
}

variable "devices" {
  type        = number
  default     = 100
  description = "how many devices publish, twice a second each"
}

experiment "chaos" {
  description = "what does it cost when a part of the platform dies, and how fast is it back?"
  seed        = 20201114
  retry       = 1 # what befalls a cell from outside is not what is asked here

  matrix {
    fault = ["none", "one gateway", "all gateways", "broker", "hub"]
  }

  phases {
    warmup  = "5s"
    measure = var.measure
    drain   = "15s"
  }
}

locals {
  # Early enough that a recovery is seen within the load.
  when = duration(seconds(var.measure) / 4)
  down = "3s"
}

node "master" { count = 1 }
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 1 }

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
  uses      = platform.gateway
  on        = node.worker
  instances = 2
}

component "hub" {
  uses = platform.hub
  on   = node.worker
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.broker
  qos   = 1
  rate  = "2/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.broker
}

fault "a gateway dies" {
  when = cell.fault == "one gateway"
  at   = local.when
  for  = local.down
  kill {
    component = component.gateway
    instance  = 1
  }
}

fault "all gateways die" {
  when = cell.fault == "all gateways"
  at   = local.when
  for  = local.down
  kill { component = component.gateway }
}

fault "the broker dies" {
  when = cell.fault == "broker"
  at   = local.when
  for  = local.down
  kill { component = component.broker }
}

fault "the hub dies" {
  when = cell.fault == "hub"
  at   = local.when
  for  = local.down
  kill { component = component.hub }
}

expect "nothing is lost where nothing dies" {
  that = cell.fault != "none" || dropped == 0
}

expect "the platform comes back by itself" {
  that    = unrecovered == 0
  message = "${unrecovered} faults were not recovered from before the load ended"
}

expect "it is back within ten seconds" {
  that    = recovery_s <= 10
  message = "what arrives was back after ${recovery_s} s"
}

expect "what was killed was started again once" {
  that = component.broker.restarts + component.gateway.restarts + component.hub.restarts <= 2
}
