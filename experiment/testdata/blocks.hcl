# Unknown, doubled, misplaced and misnamed blocks.
seed = 4
experiment "a" {
  matrix = [1]
  phases "x" {}
}
experiment "b" {}
nod "worker" { count = 1 }
node "worker" { count = 2 }
node "worker" { count = 2 }
node "rack" { count = 1 }
node { count = 1 }
node "iot" {}
component "gateway 1" {}
component "broker" {
  uses = platform.broker
  on   = node.worker
  limit {
    cpu = 1
  }
  codec = "json"
}
component "broker" {}
locals "x" {
  a = local.b
  b = local.a
}
