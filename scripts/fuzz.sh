#!/usr/bin/env bash
# Runs every fuzz function for a while, one after the other: fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-10s}
failed=0
while IFS=: read -r file function; do
	package=./$(dirname "$file")
	echo "fuzz $package $function for $time"
	if ! out=$(go test -run '^$' -fuzz "^$function\$" -fuzztime "$time" -parallel 2 -timeout 10m "$package" 2>&1); then
		echo "$out" >&2
		failed=1
	fi
done < <(git ls-files -co --exclude-standard -- '*_test.go' | sort | xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
exit "$failed"
