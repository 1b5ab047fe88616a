# Reads go test -v. See test.sh.

# go test -v shows what a test logs; a package's is kept until its result is known.
function noise(line) { return line ~ /^ *(=== |--- PASS|--- SKIP)/ || line == "PASS" }

function flush_output(i) {
	for (i = 1; i <= n; i++)
		if (!noise(output[i])) print output[i]
	n = 0
}

/^(ok  |FAIL|\?   )\t/ || /^[[:space:]]+[^[:space:]]+\t+coverage:/ || /\[no test files\]$/ {
	if ($1 == "FAIL") { flush_output(); failed = 1 } else if ($1 == "ok") print "passed " $2 " in " $3
	for (i = 1; i <= skips; i++) all[++left] = $2 " " skipped[i]
	n = 0; skips = 0
	results[++count] = $0
	fflush()
	next
}
$0 == "FAIL" { next }
{ output[++n] = $0 }
/^ +[A-Za-z0-9_]+\.go:[0-9]+: / { said = $0; sub(/^ +[^ ]+: /, "", said) }
/^ *--- SKIP: / { skipped[++skips] = $3 ": " said; if (said ~ /^left out:/) suites++ }

END {
	flush_output()
	if (left) {
		print "\nnot run:"
		for (i = 1; i <= left; i++) print "  " all[i]
	}
	if (suites && ENVIRON["CI"] == "true") {
		print "with CI=true no suite may be left out: " suites " were"
		failed = 1
	}
	print ""
	for (i = 1; i <= count; i++) print results[i]
	if (failed || !count) { print "FAIL"; exit 1 }
}
