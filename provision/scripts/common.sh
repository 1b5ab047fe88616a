# Shared by all scripts of provisioning. POSIX shell; $dir is bela's directory.
LC_ALL=C; export LC_ALL
umask 077
tab='	'

# The first line of a MANIFEST that bela wrote.
magic='bela manifest 1'

say() { echo "$*" >&2; }

# owned succeeds where the directory is bela's, by its MANIFEST.
owned() {
  first=
  [ -f "$dir/MANIFEST" ] && IFS= read -r first <"$dir/MANIFEST"
  [ "$first" = "$magic" ]
}

# empty succeeds where the directory has nothing in it.
empty() { [ -z "$(ls -A -- "$dir" 2>/dev/null)" ]; }

# record notes what is put on the node: kind, path, and what for. What one script
# puts there has one time.
now=
record() {
  printf '%s\t%s\t%s\t%s\n' "${now:=$(date -u +%Y-%m-%dT%H:%M:%SZ)}" "$1" "$2" "$3" >>"$dir/MANIFEST"
}

# recorded prints the paths of one kind, deepest first.
recorded() {
  [ -f "$dir/MANIFEST" ] || return 0
  while IFS="$tab" read -r _ kind path _; do
    [ "$kind" = "$1" ] && printf '%s\n' "$path"
  done <"$dir/MANIFEST" | sort -r -u
}

# real is the directory with links resolved, as the kernel names it.
if [ -d "$dir" ]; then real=$(cd -P -- "$dir" && pwd -P); else real=$dir; fi

# runs_agent succeeds where a process runs an agent from bin.
runs_agent() {
  case $(readlink "/proc/$1/exe" 2>/dev/null) in
    "$real"/bin/bela-agent-*) return 0 ;;
  esac
  return 1
}

# agent_pid prints the agent's process number, if it lives and is the agent.
agent_pid() {
  pid=
  [ -f "$dir/run/agent.pid" ] && read -r pid <"$dir/run/agent.pid"
  case $pid in
    '' | *[!0-9]*) return 1 ;;
  esac
  runs_agent "$pid" && echo "$pid"
}

# units prints the systemd units that the agent made. Their names are believed
# only where they are of bela's kind.
units() { owned && recorded unit | LC_ALL=C grep -x 'bela-[0-9a-f]\{8\}-[A-Za-z0-9_.-]*\.scope'; }

# manager runs systemctl for the systemd that makes units for this login.
manager() {
  if [ "$(id -u)" = 0 ]; then systemctl "$@"; else systemctl --user "$@"; fi
}

# processes prints the numbers of all processes that the agent started, and in a
# directory that is bela's also of those that run from it or work in it, and of
# those in the control groups and units that the agent made.
processes() {
  {
    units | while IFS= read -r unit; do grep -lF -e "/$unit" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3; done
    ! owned || recorded cgroup | while IFS= read -r path; do
      case $path in
        */../* | */..) ;;
        */bela/*) cat "$path/cgroup.procs" 2>/dev/null ;;
      esac
    done
    grep -lzxF -e "BELA_DIR=$real" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
    owned && ls -l /proc/[0-9]*/exe /proc/[0-9]*/cwd 2>/dev/null |
      BELA_AT="$real" awk '
        BEGIN { at = ENVIRON["BELA_AT"] }
        {
          i = index($0, " /proc/"); line = substr($0, i + 1)
          j = index(line, " -> "); target = substr(line, j + 4)
          if (i && j && (target == at || index(target, at "/") == 1)) { split(line, part, "/"); print part[3] }
        }'
  } | sort -n -u
}

# lives succeeds where a process has not ended; one that its parent has not
# yet noticed has.
lives() { [ -n "$(readlink "/proc/$1/exe" 2>/dev/null)" ]; }
