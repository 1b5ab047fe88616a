# Latency, throughput, drops and resources of the platform under QoS 0.
#
#     bela run experiments/qos0.hcl                      on this machine, in the loopback lab
#     bela run -var measure=15s experiments/qos0.hcl     a short look
#     bela run -inventory FILE experiments/qos0.hcl   the same on real machines
#
# Every block and argument is described in docs/experiment-file.md.

# A variable can be changed for one run with -var NAME=VALUE.
variable "measure" {
  type        = duration
  default     = "5m"
  description = "how long each cell is measured"
}

variable "warmup" {
  type        = duration
  default     = "30s"
  description = "load before measuring, so that queues and caches have settled"
}

variable "drain" {
  type        = duration
  default     = "15s"
  description = "the longest wait for messages under way once the load has ended"
}

experiment "qos0" {
  description = "how do latency, throughput, drops, CPU and memory grow from 1 to 1000 devices under QoS 0?"

  # The seed fixes everything that is random: when each device sends, the
  # readings it sends, and the order of cells where that is shuffled.
  seed        = 20201114
  repetitions = 1

  # One cell for each combination of these values: here four. Each dimension is
  # a column of cells.csv, and cell.<dimension> stands for its value below.
  matrix {
    devices = [1, 100, 500, 1000]
    qos     = [0]
  }

  phases {
    warmup  = var.warmup
    measure = var.measure
    drain   = var.drain
  }
}

# The testbed. Without hosts, the nodes are made on this machine. On real
# machines write for example: hosts = ["10.2.0.11", "10.2.0.12"].
node "master" { count = 1 }
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 2 }

# The platform under test:
#
#     devices → broker → gateway → nats, stan → hub → broker → customers
#
# gateway, stan and hub find the components they talk to by themselves, since
# there is one of each kind.
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
  codec     = "json" # or "msgpack"
}

component "hub" {
  uses = platform.hub
  on   = node.worker
}

# The load: devices that publish, spread evenly over the nodes of "iot".
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = cell.qos
  rate  = "1/s" # each device

  payload {
    size = 1024 # bytes
  }
}

# Four end-customers. Each device belongs to one, and each message is for the
# customer of its device.
customers {
  on    = node.customer
  count = 4
  via   = component.broker
}

# Metrics also go to InfluxDB where INFLUX_URL is set. Where it is not, the run
# directory has them all the same.
influxdb {
  url    = env("INFLUX_URL")
  org    = env("INFLUX_ORG", "bela")
  bucket = env("INFLUX_BUCKET", "bela")
  token  = env("INFLUX_TOKEN")
}

# What must be true of every cell. Names such as dropped are the columns of
# cells.csv. An expectation that fails makes bela exit with status 1.
#
# QoS 0 promises nothing, so this one allows a loss of one message in a thousand
# between devices and broker, where QoS 1 allows none.
expect "at most 0.1 % drops up to 500 devices" {
  that = cell.devices > 500 || dropped <= 0.001 * published
}
