# VerneMQ from a release as its build makes it, packed as .tar.gz, as the broker:
# devices → VerneMQ → customers.
#
#     make rel && tar -C _build/default/rel/vernemq -czf vernemq.tar.gz .
#     bela run experiments/recipes/vernemq.hcl -var release=$PWD/vernemq.tar.gz \
#         -var sha256=$(sha256sum vernemq.tar.gz | cut -d ' ' -f 1)
#
# VerneMQ's own packages have a licence of their own, which accept_eula would accept; a
# build from its sources needs none. What of this recipe bela's tests run: the
# package is pushed, unpacked and copied for each cell, and what it starts gets these
# settings and these ports. They run it with a stand-in for the package, not with
# VerneMQ itself, so check the settings against the documentation of your release.

variable "release" {
  type        = string
  description = "the release package on this machine, a .tar.gz"
}

variable "sha256" {
  type        = string
  description = "its SHA-256, as sha256sum prints it"
}

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

experiment "vernemq" {
  description = "VerneMQ under QoS 0 and QoS 1"

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

# Erlang's nodes find each other through epmd, which would outlive VerneMQ if it
# were VerneMQ that started it.
component "epmd" {
  on       = node.worker
  packages = ["erlang-base"]
  command  = ["epmd", "-port", self.port]
  port     = 24370
  env = {
    ERL_EPMD_ADDRESS = self.address # and always 127.0.0.1
  }
}

component "vernemq" {
  on    = node.worker
  links = { epmd = component.epmd }
  artifact "release" {
    source = var.release
    sha256 = var.sha256
    unpack = true
  }

  # VerneMQ writes beside its programs, so each cell has a copy of its own. What
  # comes last in its configuration counts.
  command = ["/bin/sh", "-c",
    "cp -R ${self.artifacts.release}/. . && cat bela.conf >>etc/vernemq.conf && exec bin/vernemq console -noshell -noinput"]
  ports = { mqtt = 1883, http = 8888, cluster = 44053 }
  env = {
    HOME          = self.directory
    LANG          = "C.UTF-8"
    ERL_EPMD_PORT = component.epmd.port
  }
  file "bela.conf" {
    content = <<-EOT

      nodename = bela-${self.instance}@127.0.0.1
      distributed_cookie = ${self.password}
      allow_anonymous = on
      listener.tcp.default = ${self.address}:${self.ports.mqtt}
      listener.http.default = ${self.address}:${self.ports.http}
      listener.vmq.clustering = ${self.address}:${self.ports.cluster}
      log.console = console
    EOT
  }
  ready {
    http = "http://${self.address}:${self.ports.http}/health"
  }
  stop_timeout = "30s"
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.vernemq
  qos   = cell.qos
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.vernemq
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
