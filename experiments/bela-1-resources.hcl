# BELA, experiment 1: what does each component need?
#
# Nothing is limited: CPU and memory of the five components at 1, 500 and 1000 devices are what requests and limits are
# then chosen by.
#
#     bela run experiments/bela-1-resources.hcl                         five minutes a cell, in the loopback lab
#     bela run -var measure=15s -var warmup=5s experiments/bela-1-resources.hcl    a short look
#     bela run -inventory FILE experiments/bela-1-resources.hcl         the same on real machines
#     bela compare latest results/reference/bela-2020 beside the published figures
#
# The published study ran under Kubernetes, which also takes requests; on bare machines nothing schedules by them, and
# only limits act. `bela recommend` works both out of what was measured.

variable "measure" {
  type        = duration
  default     = "5m"
  description = "how long each cell is measured"
}

variable "warmup" {
  type    = duration
  default = "30s"
}

variable "drain" {
  type    = duration
  default = "15s"
}

experiment "bela-1-resources" {
  description = "how much CPU and memory does each component need at 1, 500 and 1000 devices?"
  seed        = 20201114

  matrix {
    devices = [1, 500, 1000]
  }

  phases {
    warmup  = var.warmup
    measure = var.measure
    drain   = var.drain
  }
}

# The study had 15 workers, 5 IoT nodes and 4 nodes of end-customers.
node "master" { count = 1 }
node "worker" { count = 3 }
node "iot" { count = 2 }
node "customer" { count = 2 }

component "broker" {
  uses      = platform.broker
  on        = node.worker
  instances = 2
}

component "nats" {
  uses      = platform.nats
  on        = node.worker
  instances = 3
}

component "stan" {
  uses      = platform.stan
  on        = node.worker
  instances = 3
}

component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = 2
  codec     = "json"
}

component "hub" {
  uses      = platform.hub
  on        = node.worker
  instances = 2
}

devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = 0
  rate  = "1/s"

  payload {
    size = 1024
  }
}

customers {
  on    = node.customer
  count = 4
  via   = component.broker
  qos   = 0
}

expect "nothing is dropped where nothing is limited" {
  that = dropped == 0
}

expect "a thousand devices need more CPU than one" {
  against = { devices = 1 }
  that    = cell.devices < 1000 || component.broker.cpu_mcpu_mean > against.component.broker.cpu_mcpu_mean
}
