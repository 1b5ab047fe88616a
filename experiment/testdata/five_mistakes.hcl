# Five mistakes of different kinds; all five must be reported, with positions.
experiment "five" {
  sed = 4
  matrix {
    devices = [1, 100]
  }
  phases {
    warmup = "30sec"
  }
}
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.brocker
  on   = node.worker
}
devices {
  on    = node.iott
  count = cell.devices
}
customers {
  on    = node.customer
  count = 2
}
expect "no drops" {
  that = droped == 0
}
