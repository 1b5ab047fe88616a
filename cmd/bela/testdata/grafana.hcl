# Every kind of number that the dashboards show: a whole platform, a gateway that
# is too small and drops, and a fault.
experiment "grafana" {
  seed = 5
  matrix { devices = [2, 40] }
  phases {
    warmup  = "1s"
    measure = "3s"
    drain   = "2s"
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
  queue = 1
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
fault "hub stands still" {
  at  = "1s"
  for = "500ms"
  pause { component = component.hub }
}
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  qos   = 1
  rate  = "20/s"
  payload { size = 300 }
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
