# Names of blocks that are misspelt, and nothing else: what refers to them is right.
experimnt "a" {
  matrx { devices = [1, 10] }
}
variabel "rate" { default = "1/s" }
nod "worker" { count = 1 }
componet "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.worker
  count = cell.devices
  rate  = var.rate
  via   = component.broker
}
customers {
  on    = node.worker
  count = 1
  via   = component.broker
}
expect "all" { that = dropped == 0 || cell.devices > 1 }
