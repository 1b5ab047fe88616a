experiment "faults" {
  matrix { fault = ["none", "all"] }
  phases {
    warmup  = "2s"
    measure = "60s"
    drain   = "10s"
  }
}
node "worker" { count = 2 }
node "iot" { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "spare" {
  uses = platform.broker
  on   = node.worker
  when = cell.fault == "none"
}
devices {
  on    = node.iot
  count = 1
  via   = component.broker
}
customers {
  on    = node.customer
  count = 1
  via   = component.broker
}
fault "a" {
  at = "20s"
  kill { component = component.brokr }
}
fault "b" {
  at    = "60s"
  for   = "5s"
  phase = "measured"
  pause {
    component = component.broker
    node      = node.worker
  }
}
fault "b" { at = "1s" }
fault "late" {
  at = "60s"
  kill { component = component.broker }
}
fault "long" {
  at  = "50s"
  for = "30s"
  pause { component = component.broker }
}
fault "gone" {
  at   = "1s"
  when = cell.fault == "all"
  kill { component = component.spare }
}
fault "third" {
  at = "1s"
  kill {
    component = component.broker
    instance  = 3
  }
}
fault "first" {
  at  = "10s"
  for = "10s"
  pause { component = component.broker }
}
fault "second" {
  at  = "19s"
  for = "1s"
  restart { node = node.worker }
}
fault "units" {
  at  = 5
  for = "5sec"
  slow {
    between = [node.iot, "worker"]
    delay   = "10ms"
    jitter  = "20ms"
    loss    = "1"
    rate    = "10mb"
  }
}
fault "endless" {
  at = "1s"
  cut { between = [node.iot, node.worker, node.customer] }
}
fault "nothing" { at = "1s" }
fault "both" {
  at  = "1s"
  for = "1s"
  disk {
    on    = node.worker
    leave = "1B"
  }
  pressure { on = node.worker }
}
fault "which" {
  at  = "1s"
  for = "1s"
  pressure {
    on     = node.worker
    number = 3
    cpu    = "80%"
  }
}
fault "alone" {
  at  = "1s"
  for = "1s"
  cut { between = [node.iot, node.iot] }
}
