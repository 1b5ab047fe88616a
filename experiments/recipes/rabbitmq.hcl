# RabbitMQ with its MQTT plugin, as Debian packages it, as the broker:
# devices → RabbitMQ → customers.
#
#     bela run experiments/recipes/rabbitmq.hcl
#
# It has a name, directories, ports and a cookie of its own, so that it does not
# meet a RabbitMQ that the machine may have. Erlang's nodes find each other through
# epmd, which Erlang would start as a daemon that outlives it. Here epmd is a
# component, so it ends with the cell, and what it uses is counted apart.

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

experiment "rabbitmq" {
  description = "RabbitMQ's MQTT plugin under QoS 0 and QoS 1"

  matrix {
    qos = [0, 1]
  }
  phases {
    warmup  = var.warmup
    measure = var.measure
    drain   = "15s"
    ready   = "2m" # Erlang takes its time, most of all on a busy machine
  }
}

node "master" { count = 1 }
node "worker" { count = 1 }
node "iot" { count = 1 }
node "customer" { count = 1 }

component "epmd" {
  on       = node.worker
  packages = ["erlang-base"]
  command  = ["epmd", "-port", self.port]
  port     = 24369
  env = {
    ERL_EPMD_ADDRESS = self.address # and always 127.0.0.1
  }
}

component "rabbitmq" {
  on       = node.worker
  packages = ["rabbitmq-server"]
  links    = { epmd = component.epmd }
  # Debian's /usr/sbin/rabbitmq-server changes to its own user and directories.
  command = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
  ports   = { mqtt = 1883, amqp = 5672, distribution = 25672 }
  env = {
    HOME                          = self.directory # for the cookie
    LANG                          = "C.UTF-8"
    ERL_EPMD_PORT                 = component.epmd.port
    RABBITMQ_CONF_ENV_FILE        = "/dev/null" # not the machine's
    RABBITMQ_CONFIG_FILE          = "${self.directory}/rabbitmq.conf"
    RABBITMQ_ENABLED_PLUGINS_FILE = "${self.directory}/enabled_plugins"
    RABBITMQ_NODENAME             = "bela-${self.node}-${self.instance}@localhost"
    RABBITMQ_NODE_IP_ADDRESS      = self.address
    RABBITMQ_NODE_PORT            = self.ports.amqp
    RABBITMQ_DIST_PORT            = self.ports.distribution
    RABBITMQ_MNESIA_BASE          = "${self.directory}/mnesia"
    RABBITMQ_LOG_BASE             = "${self.directory}/log"
    RABBITMQ_LOGS                 = "-" # into the component's log
    RABBITMQ_GENERATED_CONFIG_DIR = "${self.directory}/generated"
  }
  file "enabled_plugins" {
    content = "[rabbitmq_mqtt].\n"
  }
  file "rabbitmq.conf" {
    content = <<-EOT
      mqtt.listeners.tcp.1 = ${self.address}:${self.ports.mqtt}
      mqtt.allow_anonymous = false
      default_user = ${self.login}
      default_pass = ${self.password}
      loopback_users = none
      log.console.level = info
    EOT
  }
  ready {
    log = "Server startup complete"
  }
  stop_timeout = "30s"
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.rabbitmq
  qos   = cell.qos
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.rabbitmq
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
