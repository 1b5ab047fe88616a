# Prints the executable of the running agent.
pid=$(agent_pid) || exit 25
readlink "/proc/$pid/exe"
