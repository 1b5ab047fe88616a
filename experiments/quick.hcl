# A first look: the whole platform under a small load, about ten seconds of it,
# on this machine.
#
#     bela run experiments/quick.hcl
#
# qos1.hcl explains the language block by block.

variable "measure" {
  type        = duration
  default     = "7s"
  description = "how long the cell is measured"
}

variable "devices" {
  type        = number
  default     = 20
  description = "how many devices publish"
}

experiment "quick" {
  description = "does the platform work from end to end on this machine?"
  seed        = 1

  # No matrix: one cell.
  phases {
    warmup  = "2s"
    measure = var.measure
    drain   = "5s" # the longest wait; it ends when all messages have arrived
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
  count = var.devices
  via   = component.broker
  qos   = 1
  rate  = "5/s"

  payload {
    size = 512
  }
}

customers {
  on    = node.customer
  count = 2
  via   = component.broker
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
