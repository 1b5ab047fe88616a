#!/usr/bin/env bash
# Lists the packages to run under the race detector: those given that have tests,
# without the commands, whose tests run finished binaries the detector is not in.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@" | grep -v '^bela/cmd/'
