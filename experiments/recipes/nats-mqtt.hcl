# nats-server with its own MQTT gateway, as Debian packages it, as the broker:
# devices → nats-server → customers. Its MQTT needs JetStream, which keeps
# messages of QoS 1 on disk until they are acknowledged.
#
#     bela run experiments/recipes/nats-mqtt.hcl

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

experiment "nats-mqtt" {
  description = "the MQTT gateway of nats-server under QoS 0 and QoS 1"

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

component "nats" {
  on       = node.worker
  packages = ["nats-server"]
  command  = ["nats-server", "-c", "nats.conf"]
  ports    = { mqtt = 1883, client = 4222, monitor = 8222 }

  file "nats.conf" {
    content = <<-EOT
      server_name: "${self.name}-${self.instance}"
      listen: "${self.address}:${self.ports.client}"
      http: "${self.address}:${self.ports.monitor}"
      jetstream { store_dir: "${self.directory}/jetstream" }
      authorization { user: "${self.login}", password: "${self.password}" }
      mqtt { host: "${self.address}", port: ${self.ports.mqtt} }
    EOT
  }
  ready {
    http = "http://${self.address}:${self.ports.monitor}/healthz"
  }
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.nats
  qos   = cell.qos
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.nats
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
