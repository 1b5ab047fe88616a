# Starts the agent and makes sure that it answers.
# $2 agent, $3 run, $4 lease, $5 keep, $6 tenths of a second to wait, $7 by whom.
start_agent "$2" "$3" "$4" "$5" "$6" "$7"
"$2" attach -dir "$dir" </dev/null >/dev/null 2>&1 && exit 0
kill -KILL "$started" 2>/dev/null
say "it does not answer: $(tail -c 2000 "$dir/run/agent.log")"
exit 22
