# Prints the running agent's process number, how many seconds it has run, and
# how it was started, a line each; nothing where none runs.
pid=$(agent_pid) || exit 0
echo "$pid"
hz=$(getconf CLK_TCK 2>/dev/null || echo 100)
awk -v hz="$hz" '
  NR == FNR { up = $1; next }
  { sub(/.*\) /, ""); print int(up - $20 / hz) }' /proc/uptime "/proc/$pid/stat"
grep -F "${tab}start${tab}" "$dir/MANIFEST" 2>/dev/null | tail -n 1 | cut -f 4
