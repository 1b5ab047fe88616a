experiment "e" { description = "日本語のとても長い説明、日本語のとても長い説明、日本語のとても長い説明、日本語のとても長い説明" + undefined_name_far_to_the_right }
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
