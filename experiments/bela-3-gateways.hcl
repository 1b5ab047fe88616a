# BELA, experiment 3: does balancing the load over gateways help?
#
# One gateway beside two and four that share the traffic, under the limits of experiment 2.
#
#     bela run experiments/bela-3-gateways.hcl                         five minutes a cell, in the loopback lab
#     bela run -var measure=15s -var warmup=5s experiments/bela-3-gateways.hcl    a short look
#     bela run -inventory FILE experiments/bela-3-gateways.hcl         the same on real machines
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

variable "cpu_scale" {
  type        = number
  default     = 1
  description = "the published CPU limits are multiplied by it: a platform that needs less shows their effect at less"
}

# The built-in gateway carries 1000 messages a second with 20m, where the published one had 200m: with 0.05, one of them
# is too little for 1000 devices, and two are just enough.
variable "gateway_scale" {
  type        = number
  default     = 1
  description = "the same for the gateways alone, so that they are the bottleneck as they were in the study"
}

variable "timeout" {
  type        = duration
  default     = "5s"
  description = "a message older than this is dropped by gateway and hub"
}

experiment "bela-3-gateways" {
  description = "how many fewer messages are dropped when gateways share the traffic?"
  seed        = 20201114

  matrix {
    qos      = [0, 1]
    gateways = [1, 2, 4]
    devices  = [1, 100, 500, 1000]
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

  limits {
    cpu    = "${floor(350 * var.cpu_scale)}m"
    memory = "700MiB"
  }
}

component "nats" {
  uses      = platform.nats
  on        = node.worker
  instances = 3

  limits {
    cpu    = "${floor(200 * var.cpu_scale)}m"
    memory = "300MiB"
  }
}

component "stan" {
  uses      = platform.stan
  on        = node.worker
  instances = 3

  limits {
    cpu    = "${floor(300 * var.cpu_scale)}m"
    memory = "400MiB"
  }
}

component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = cell.gateways
  codec     = "json"
  timeout   = var.timeout

  limits {
    cpu    = "${floor(200 * var.gateway_scale)}m"
    memory = "150MiB"
  }
}

component "hub" {
  uses      = platform.hub
  on        = node.worker
  instances = 2
  codec     = "json"
  timeout   = var.timeout

  limits {
    cpu    = "${floor(200 * var.cpu_scale)}m"
    memory = "100MiB"
  }
}

devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = cell.qos
  rate  = "1/s"

  payload {
    size = 1024
  }
}

customers {
  on    = node.customer
  count = 4
  via   = component.broker
  qos   = cell.qos
}

expect "more gateways drop no more than one" {
  against = { gateways = 1 }
  that    = drops_per_5min <= against.drops_per_5min
}
