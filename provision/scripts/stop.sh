# Ends the agent, and then whatever it left. $2 and $3 are how long each may
# take to end when asked, in tenths of a second.
wait_for() { # wait_for TENTHS PID: until it has ended
  left=$1
  while lives "$2" && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.1
  done
  ! lives "$2"
}
if pid=$(agent_pid); then
  kill -TERM "$pid" 2>/dev/null
  wait_for "$2" "$pid" || { runs_agent "$pid" && kill -KILL "$pid" 2>/dev/null; }
fi
for signal in TERM KILL; do
  pids=$(processes)
  [ -n "$pids" ] || break
  for pid in $pids; do kill -"$signal" "$pid" 2>/dev/null; done
  for pid in $pids; do wait_for "$3" "$pid"; done
done
pids=$(processes)
if [ -n "$pids" ]; then
  say "these processes do not end even when killed:" $pids
  exit 23
fi
# What a fault left that was killed before it could heal.
for record in "$dir"/run/faults/*.json; do
  { owned && [ -f "$record" ]; } || continue
  healed=
  for agent in "$dir"/bin/bela-agent-*; do
    if [ -x "$agent" ] && "$agent" fault undo -dir "$dir"; then healed=yes; break; fi
  done
  if [ -z "$healed" ]; then
    say "a fault of an experiment is left on the node, and $record says how to undo it"
    exit 26
  fi
done
! owned || rm -f -- "$dir/run/agent.sock" "$dir/run/agent.pid"
exit 0
