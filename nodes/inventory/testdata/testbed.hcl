# bela's own.
node "worker" {
  hosts = ["10.2.0.11", "admin@10.2.0.12:2222"]
  user  = "bela"
}
node "iot" { hosts = ["[fd00::21]:22"] }
ssh { key_files = ["~/.ssh/lab"] }
