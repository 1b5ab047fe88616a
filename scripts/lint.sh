#!/usr/bin/env bash
# All checks that need no test run. Does each of them before it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
check() {
	local name=$1
	shift
	if "$@"; then
		echo "ok    $name"
	else
		echo "FAIL  $name" >&2
		failed=1
	fi
}

formatted() {
	local files
	files=$(gofmt -l $(go list -f '{{.Dir}}' ./... | sed "s|^$PWD/|./|")) || return 1
	[[ -z $files ]] || { echo "not gofmt-ed (run gofmt -w):" "$files" >&2; return 1; }
}

shell_scripts() {
	local script
	for script in scripts/*.sh .ci/run; do
		bash -n "$script" || return 1
	done
}

check gofmt formatted
check "go mod verify" go mod verify
check "go vet" go vet ./...
check golangci-lint .cache/bin/golangci-lint run --timeout 10m ./...
check imports scripts/imports.sh
check "shell syntax" shell_scripts
exit "$failed"
