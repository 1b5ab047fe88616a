# Starts the agent and makes sure that it answers.
# $2 agent, $3 run, $4 lease, $5 keep, $6 how long to wait, $7 by whom.
start_agent "$2" "$3" "$4" "$5" "$6" "$7" </dev/null >/dev/null
