experiment "e" {
  matrix {
    devices  = []
    qos      = [0, "1"]
    Rate     = [1]
    dropped  = [1]
    twice    = [1, 1.0]
    nested   = [[1]]
    one      = 1
    pair {
      left  = [1, 2]
      right = [1, 2, 3]
    }
    pair {
      alone = [1]
    }
    pair {
      left  = [1]
      other = [2]
    }
    excldue {}
    exclude {
      if = true
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
