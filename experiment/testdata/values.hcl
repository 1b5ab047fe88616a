# Values out of bounds, with wrong units, of wrong types.
experiment "e" {
  seed        = -1
  repetitions = 1.5
  order       = "shufled"
  phases {
    warmup  = 30
    measure = "0s"
    drain   = "8d"
    ready   = "200h"
  }
}
node "worker" {
  count = 3
  hosts = ["10.0.0.1", "10.0.0.1", "not a host"]
}
node "iot" { count = 0 }
node "customer" { count = 1 }
component "broker" {
  uses      = platform.broker
  on        = "worker"
  instances = 101
  port      = 70000
  limits {
    cpu    = "0.5cores"
    memory = "700M"
  }
}
component "nats" {
  uses      = platform.nats
  on        = node.worker
}
component "mosquitto" {
  on          = node.worker
  command     = []
  port        = 1883
  stop_signal = "TREM"
  ready {
    tcp = "1883"
    log = "listening (on"
  }
}
devices {
  on       = node.iot
  count    = 0
  via      = component.nats
  qos      = 3
  rate     = "-1/s"
  arrivals = poisson
  burst    = "1s"
  topic    = "iot/{devise}/#"
  payload {
    size     = 64
    template = "{value"
  }
}
customers {
  on      = node.customer
  count   = 1e9
  via     = component.mosquitto
  topic   = "out/#/x"
  receive = "mine"
}
