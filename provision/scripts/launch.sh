# holder says whose agent runs on the node, if one does.
holder() {
  running=$(agent_pid) || return 1
  words=$(awk -F "$tab" '$2 == "start" { since = $1; what = $4 } END { if (what != "") print what, "holds it since", since }' "$dir/MANIFEST")
  echo "${words:-an agent runs there already} (process $running)"
}

# start_agent AGENT RUN LEASE KEEP TIMEOUT BY: becomes the agent's launch, which
# starts the agent so that it outlives this session, waits for so long until it
# listens, says "started" and joins this session with it.
start_agent() {
  owned || { say "$dir is not prepared"; exit 10; }
  if words=$(holder); then
    say "$words"
    exit 20
  fi
  [ -d "$dir/run" ] && [ -d "$dir/cells" ] || mkdir -p -- "$dir/run" "$dir/cells" || exit 11
  record start "$1" "run $2 by $6" || exit 11
  BELA_DIR=$(cd -P -- "$dir" && pwd -P); export BELA_DIR
  exec "$1" launch -dir "$dir" -timeout "$5" -- -dir "$dir" -run "$2" -lease "$3" -keep "$4"
}
