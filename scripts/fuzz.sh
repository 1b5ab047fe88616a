#!/usr/bin/env bash
# Runs every fuzz function for a while, one after the other: fuzz.sh 10s
# What it finds lands in the package's testdata/fuzz, to be kept as a test.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-10s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# fuzz PACKAGE FUNCTION: runs it with the package's test binary, built once.
fuzz() {
	local package=$1 function=$2 binary=$work/${1//\//-}.test out
	if [[ ! -x $binary ]]; then
		go test -c -fuzz "$function" -o "$binary" "./$package"
	fi
	echo "fuzz $package $function for $time"
	if ! out=$(cd "$package" && timeout -k 10 600 "$binary" -test.run '^$' -test.fuzz "^$function\$" -test.fuzztime "$time" \
		-test.fuzzcachedir "$work/cache" -test.parallel 2 2>&1); then
		echo "$out" >&2
		failed=1
	fi
}

while IFS=: read -r file function; do
	fuzz "$(dirname "$file")" "$function"
done < <(git ls-files -co --exclude-standard -- '*_test.go' | sort | xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
exit "$failed"
