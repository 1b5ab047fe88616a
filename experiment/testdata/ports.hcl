# Given ports that collide on a node; a circle of links; links that are not clear.
experiment "e" {}
node "worker" { count = 1 }
node "iot" { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
  port = 1883
}
component "mosquitto" {
  command = ["/usr/sbin/mosquitto"]
  on      = node.worker
  port    = 1883
  links   = { next = component.second }
}
component "second" {
  command = ["/bin/second"]
  on      = node.worker
  links   = { next = component.third }
}
component "third" {
  command = ["/bin/third"]
  on      = node.worker
  links   = { next = component.mosquitto }
}
component "high" {
  command   = ["/bin/high"]
  on        = node.worker
  instances = 3
  port      = 65534
}
component "nats-1" {
  uses = platform.nats
  on   = node.worker
}
component "nats-2" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "hub" {
  uses  = platform.hub
  on    = node.worker
  links = { nats = component.broker }
}
devices {
  on    = node.iot
  count = 1
  via   = component.second
}
customers {
  on    = node.customer
  count = 1
}
