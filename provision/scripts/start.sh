# Starts the agent so that it outlives this session, and waits until it answers.
# $2 agent, $3 run, $4 lease, $5 keep, $6 tenths of a second to wait, $7 by whom.
agent=$2
owned || { say "$dir is not prepared"; exit 10; }
if running=$(agent_pid); then
  # The record of its start says for whom it runs, by whom, and since when.
  holder=$(awk -F "$tab" '$2 == "start" { since = $1; what = $4 } END { if (what != "") print what, "holds it since", since }' "$dir/MANIFEST")
  say "${holder:-an agent runs there already} (process $running)"
  exit 20
fi
mkdir -p -- "$dir/run" "$dir/cells" || exit 11
rm -f -- "$dir/run/agent.sock" "$dir/run/agent.pid"
: >"$dir/run/agent.log" || exit 11
record start "$agent" "run $3 by $7"
BELA_DIR=$real; export BELA_DIR
setsid "$agent" serve -dir "$dir" -run "$3" -lease "$4" -keep "$5" </dev/null >>"$dir/run/agent.log" 2>&1 &
pid=$!
left=$6
while :; do
  "$agent" attach -dir "$dir" </dev/null >/dev/null 2>&1 && exit 0
  if ! lives "$pid"; then
    say "it ended at once: $(tail -c 2000 "$dir/run/agent.log")"
    exit 21
  fi
  [ "$left" -gt 0 ] || break
  left=$((left - 1))
  sleep 0.1
done
kill -KILL "$pid" 2>/dev/null
say "it does not answer: $(tail -c 2000 "$dir/run/agent.log")"
exit 22
