#!/usr/bin/env bash
# Runs all tests. Shows the whole output of packages that fail, then which tests
# were left out and why, then go test's own line for each package. With CI=true a
# left-out suite is a failure.
#
# Two packages go side by side; then those of whole runs, many of them at once, one
# package after the other; and last, one by one, the tests named TestTruth…: those
# hold times and shares that were measured against a planted truth, and have the
# machine to themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

export BELA_INFLUXD=${BELA_INFLUXD:-$PWD/.cache/bin/influxd}
export PATH=$PATH:/usr/sbin:/sbin # where Debian keeps sshd and mosquitto

mkdir -p .cache/test
whole='^bela/(campaign|cmd/bela)$'
mapfile -t packages < <(go list "${@:-./...}")
mapfile -t runs < <(printf '%s\n' "${packages[@]}" | grep -E "$whole" || true)
mapfile -t others < <(printf '%s\n' "${packages[@]}" | grep -vE "$whole" || true)
mapfile -t truths < <(
	go list -f '{{$p := .ImportPath}}{{$d := .Dir}}{{range .TestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}' "${packages[@]}" |
		while read -r package file; do grep -q '^func TestTruth' "$file" && echo "$package"; done | sort -u
)
suites() {
	local status=0 go=(go test -v -count=1 -timeout 15m)
	((${#others[@]} == 0)) || "${go[@]}" -p 2 -skip '^TestTruth' "${others[@]}" || status=$?
	((${#runs[@]} == 0)) || "${go[@]}" -p 1 -skip '^TestTruth' "${runs[@]}" || status=$?
	if ((${#truths[@]} > 0)); then
		echo "=== what was measured, against planted truths"
		"${go[@]}" -p 1 -parallel 1 -run '^TestTruth' "${truths[@]}" || status=$?
	fi
	return "$status"
}
status=0
suites | tee .cache/test/output | awk -f scripts/test-summary.awk || status=$?
if ((status != 0)); then
	echo "(the whole output is in .cache/test/output)" >&2
fi
exit "$status"
