# EMQX 5 from its release package as the broker: devices → EMQX → customers.
#
#     bela run experiments/recipes/emqx.hcl -var release=$PWD/emqx-5.8.6-debian12-amd64.tar.gz \
#         -var sha256=$(sha256sum emqx-5.8.6-debian12-amd64.tar.gz | cut -d ' ' -f 1)
#
# The package is yours to download; have the one for your nodes' system. What of this
# recipe bela's tests run: the package is pushed, unpacked and copied for each
# cell, and what it starts gets these settings and these ports. They run it with a
# stand-in for the package, not with EMQX itself, so check the settings against the
# documentation of your release. EMQX needs no epmd.

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

experiment "emqx" {
  description = "EMQX under QoS 0 and QoS 1"

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

component "emqx" {
  on = node.worker
  artifact "release" {
    source = var.release
    sha256 = var.sha256
    unpack = true
  }

  # EMQX writes beside its programs, so each cell has a copy of its own.
  command = ["/bin/sh", "-c", "cp -R ${self.artifacts.release}/. . && exec bin/emqx foreground"]
  ports   = { mqtt = 1883, dashboard = 18083 }
  env = {
    HOME                                  = self.directory
    LANG                                  = "C.UTF-8"
    EMQX_NODE__NAME                       = "bela-${self.instance}@127.0.0.1"
    EMQX_NODE__COOKIE                     = self.password
    EMQX_LISTENERS__TCP__DEFAULT__BIND    = "${self.address}:${self.ports.mqtt}"
    EMQX_LISTENERS__SSL__DEFAULT__ENABLE  = "false"
    EMQX_LISTENERS__WS__DEFAULT__ENABLE   = "false"
    EMQX_LISTENERS__WSS__DEFAULT__ENABLE  = "false"
    EMQX_DASHBOARD__LISTENERS__HTTP__BIND = "${self.address}:${self.ports.dashboard}"
  }
  ready {
    http = "http://${self.address}:${self.ports.dashboard}/status"
  }
  stop_timeout = "30s"
}

devices {
  on    = node.iot
  count = var.devices
  via   = component.emqx
  qos   = cell.qos
  rate  = "1/s"
}

customers {
  on    = node.customer
  count = 4
  via   = component.emqx
}

expect "nothing is lost" {
  that    = dropped == 0
  message = "${dropped} of ${published} messages never arrived"
}
