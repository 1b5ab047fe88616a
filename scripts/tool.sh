#!/usr/bin/env bash
# Builds a pinned Go tool into .cache/bin, once: tool.sh MODULE/cmd/NAME@VERSION
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$1
name=${tool%@*}
name=${name##*/}
bin=$PWD/.cache/bin
stamp=$bin/.$name.version

if [[ -x $bin/$name && -f $stamp && $(<"$stamp") == "$tool $(go env GOVERSION)" ]]; then
	exit 0
fi
mkdir -p "$bin"
work=$(mktemp -d "$bin/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "building $tool (once, a minute or three) …"
log=$work/log
if ! GOBIN=$work GOFLAGS= GOOS= GOARCH= CGO_ENABLED=0 timeout 900 go install "$tool" >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "tool.sh: $tool could not be built: is the Go module proxy reachable (go env GOPROXY)?" >&2
	exit 1
fi
mv "$work/$name" "$bin/$name"
echo "$tool $(go env GOVERSION)" >"$stamp"
