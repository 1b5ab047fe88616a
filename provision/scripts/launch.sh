# holder says whose agent runs on the node, if one does.
holder() {
  running=$(agent_pid) || return 1
  words=$(awk -F "$tab" '$2 == "start" { since = $1; what = $4 } END { if (what != "") print what, "holds it since", since }' "$dir/MANIFEST")
  echo "${words:-an agent runs there already} (process $running)"
}

# start_agent AGENT RUN LEASE KEEP TENTHS BY: starts the agent so that it outlives
# this session, and waits, so many tenths of a second, until it listens.
start_agent() {
  owned || { say "$dir is not prepared"; exit 10; }
  if words=$(holder); then
    say "$words"
    exit 20
  fi
  mkdir -p -- "$dir/run" "$dir/cells" || exit 11
  real=$(cd -P -- "$dir" && pwd -P)
  rm -f -- "$dir/run/agent.sock" "$dir/run/agent.pid"
  : >"$dir/run/agent.log" || exit 11
  record start "$1" "run $2 by $6"
  BELA_DIR=$real; export BELA_DIR
  setsid "$1" serve -dir "$dir" -run "$2" -lease "$3" -keep "$4" </dev/null >>"$dir/run/agent.log" 2>&1 &
  started=$!
  left=$(($5 * 5))
  while [ ! -S "$dir/run/agent.sock" ] || [ ! -s "$dir/run/agent.pid" ]; do
    if ! lives "$started" && ! kill -0 "$started" 2>/dev/null; then
      say "it ended at once: $(tail -c 2000 "$dir/run/agent.log")"
      exit 21
    fi
    if [ "$left" -le 0 ]; then
      kill -KILL "$started" 2>/dev/null
      say "it does not answer: $(tail -c 2000 "$dir/run/agent.log")"
      exit 22
    fi
    left=$((left - 1))
    sleep 0.02
  done
}
