experiment "e" {
  matrix {
    devices = [1, 2
  }
}
node "worker" { count = 1
