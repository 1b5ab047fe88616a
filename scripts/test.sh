#!/usr/bin/env bash
# Runs all tests. Shows the whole output of packages that fail, then which tests
# were left out and why, then go test's own line for each package. With CI=true a
# left-out suite is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

export BELA_INFLUXD=${BELA_INFLUXD:-$PWD/.cache/bin/influxd}
export PATH=$PATH:/usr/sbin:/sbin # where Debian keeps sshd and mosquitto

mkdir -p .cache/test
status=0
go test -v -count=1 -timeout 15m -p 2 "${@:-./...}" | tee .cache/test/output | awk -f scripts/test-summary.awk || status=$?
if ((status != 0)); then
	echo "(the whole output is in .cache/test/output)" >&2
fi
exit "$status"
