# Redis, as Debian packages it, as the store beside a broker: every message that
# passes mosquitto is counted in Redis by a recorder of two ordinary programs,
# mosquitto_sub and redis-cli. What devices and customers see is mosquitto alone;
# what Redis and the recorder use is in components.csv.
#
#     bela run experiments/recipes/redis.hcl

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

experiment "redis" {
  description = "what Redis needs to keep a counter for each topic"

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

component "redis" {
  on       = node.worker
  packages = ["redis-server"]
  command  = ["redis-server", "redis.conf"]
  port     = 6379

  file "redis.conf" {
    content = <<-EOT
      bind ${self.address}
      port ${self.port}
      protected-mode no
      save ""
      appendonly no
      dir ${self.directory}
    EOT
  }
  ready {
    command = ["redis-cli", "-h", self.address, "-p", self.port, "ping"]
  }
  limits {
    memory = "256MiB"
  }
}

component "mosquitto" {
  on       = node.worker
  packages = ["mosquitto"]
  command  = ["/usr/sbin/mosquitto", "-c", "mosquitto.conf"]
  port     = 1883
  file "mosquitto.conf" {
    content = <<-EOT
      listener ${self.port} ${self.address}
      allow_anonymous true
      persistence false
      log_dest stderr
    EOT
  }
  ready {
    log = "mosquitto version .* running"
  }
}

component "recorder" {
  on       = node.worker
  packages = ["mosquitto-clients", "redis-tools"]
  links    = { redis = component.redis, mosquitto = component.mosquitto }
  command = ["/bin/sh", "-c", <<-EOT
    mosquitto_sub -h ${component.mosquitto.host} -p ${component.mosquitto.port} -t 'iot/#' -F 'INCR %t' |
      redis-cli -h ${component.redis.host} -p ${component.redis.port} >/dev/null
  EOT
  ]
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.mosquitto
  qos   = 1
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

expect "Redis stays small" {
  that = component.redis.memory_mib_max < 64
}
