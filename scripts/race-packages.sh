#!/usr/bin/env bash
# Lists the packages to run under the race detector: those given that have tests,
# without the commands, whose tests run finished binaries the detector is not in,
# and without those whose tests are whole runs or other programs' work and take
# minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@" |
	grep -vE '^bela/(cmd/|campaign$|nodes/netns|report/chromiumtest|provision/fanout|agents/meter$)'
