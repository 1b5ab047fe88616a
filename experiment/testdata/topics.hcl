# Topics that can never meet: customers would wait for nothing.
experiment "e" {
  phases {
    connect = "2s"
    measure = "100h"
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
  topic = "plant/{device}"
  ramp  = "3s"
  rate  = "1000/s"
}
customers {
  on    = node.customer
  count = 2
}
