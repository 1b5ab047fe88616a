# What every experiment must have.
locals {
  nothing = 1
}
