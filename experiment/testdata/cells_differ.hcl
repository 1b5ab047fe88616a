# Mistakes that show only in some cells: the first one is named.
experiment "e" {
  matrix {
    qos     = [0, 1, 3]
    brokers = [1, 2]
    codec   = ["json", "xml"]
  }
}
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "other" {
  uses = platform.broker
  on   = node.worker
  when = cell.brokers == 2
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
  uses  = platform.gateway
  on    = node.worker
  codec = cell.codec
}
devices {
  on    = node.iot
  count = 10
  via   = component.other
  qos   = cell.qos
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
