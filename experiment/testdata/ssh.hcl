experiment "e" {}
ssh {
  port            = 0
  host_keys       = "none"
  fingerprints    = ["MD5:11"]
  jump            = ["me@bastion:99999"]
  connect_timeout = "0s"
  retries         = 1000
  directory       = "/"
  password        = "x"
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
