experiment "e" {
  matrix {
    devices = [1, 2]
    exclude {
      when = cell.devices > 0
    }
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
