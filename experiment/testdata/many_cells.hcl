# Ten million cells, found by arithmetic.
experiment "e" {
  repetitions = 10
  matrix {
    a = range(1000)
    b = range(1000)
  }
}
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 10
  via   = component.broker
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
