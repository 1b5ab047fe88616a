# mosquitto, as Debian packages it, as the broker: devices → mosquitto → customers.
#
#     bela run experiments/recipes/mosquitto.hcl
#     bela run experiments/recipes/mosquitto.hcl -inventory machines.hcl
#
# Where mosquitto is missing it is installed, which needs root, and removed again
# in the end. The server is bela's own child: Debian's service is not touched.

variable "measure" {
  type        = duration
  default     = "1m"
  description = "how long each cell is measured"
}

variable "warmup" {
  type        = duration
  default     = "5s"
  description = "how long load runs before it is measured"
}

variable "devices" {
  type        = number
  default     = 100
  description = "how many devices publish, each a message a second"
}

experiment "mosquitto" {
  description = "mosquitto under QoS 0 and QoS 1"

  matrix {
    qos = [0, 1]
  }
  phases {
    warmup  = var.warmup
    measure = var.measure
    drain   = "15s"
  }
}

node "master" { count = 1 }
node "worker" { count = 1 }
node "iot" { count = 1 }
node "customer" { count = 1 }

component "mosquitto" {
  on       = node.worker
  packages = ["mosquitto"]
  command  = ["/usr/sbin/mosquitto", "-c", "mosquitto.conf"]
  port     = 1883

  # mosquitto takes any name and password while it knows of none.
  file "mosquitto.conf" {
    content = <<-EOT
      listener ${self.port} ${self.address}
      allow_anonymous true
      persistence false
      log_dest stderr
      max_queued_messages 100000
    EOT
  }

  # It listens before it says so.
  ready {
    log = "mosquitto version .* running"
  }
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.mosquitto
  qos   = cell.qos
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.mosquitto
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
