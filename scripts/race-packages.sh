#!/usr/bin/env bash
# Lists the packages to run under the race detector: those given that have tests,
# without the commands, whose tests run finished binaries the detector is not in;
# without those whose tests are whole runs or other programs' work and take
# minutes; and without those in which nothing runs side by side.
set -euo pipefail
cd "$(dirname "$0")/.."
alone=(experiment measure)
for package in "${alone[@]}"; do
	if grep -nE '^\s*go (func|[a-z])|\.Go\(|"sync(/atomic)?"' "$package"/*.go >&2; then
		echo "scripts/race-packages.sh: something runs side by side in $package: take it off the list of those that need no race detector" >&2
		exit 1
	fi
done
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@" |
	grep -vE '^bela/(cmd/|campaign$|nodes/netns|report/chromiumtest|provision/fanout|agents/meter$)' |
	grep -vxE "bela/($(IFS='|'; echo "${alone[*]}"))"
