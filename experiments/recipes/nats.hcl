# nats-server, as Debian packages it, with and without JetStream, in the place of
# the built-in nats: devices → broker → gateway → nats, stan → hub → customers.
#
#     bela run experiments/recipes/nats.hcl

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

experiment "nats" {
  description = "does it cost anything that nats-server has JetStream enabled?"

  matrix {
    jetstream = [false, true]
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

component "broker" {
  uses = platform.broker
  on   = node.worker
}

component "nats" {
  on       = node.worker
  packages = ["nats-server"]
  command  = ["nats-server", "-c", "nats.conf"]
  port     = 4222
  # The built-in stan joins it as a leaf node, a thousand ports above.
  ports = { leaf = 5222, monitor = 8222 }

  file "nats.conf" {
    content = <<-EOT
      server_name: "${self.name}-${self.instance}"
      listen: "${self.address}:${self.port}"
      http: "${self.address}:${self.ports.monitor}"
      leafnodes { listen: "${self.address}:${self.ports.leaf}" }
      authorization { user: "${self.login}", password: "${self.password}" }
      ${cell.jetstream ? "jetstream { store_dir: \"${self.directory}/jetstream\" }" : ""}
    EOT
  }
  ready {
    http = "http://${self.address}:${self.ports.monitor}/healthz"
  }
}

component "stan" {
  uses  = platform.stan
  on    = node.worker
  links = { nats = component.nats }
}

component "gateway" {
  uses  = platform.gateway
  on    = node.worker
  links = { nats = component.nats }
}

component "hub" {
  uses  = platform.hub
  on    = node.worker
  links = { nats = component.nats }
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.broker
  qos   = 1
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.broker
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
