# Can bela work in $dir? Writes a file that runs, and removes it.
if [ -e "$dir" ] && [ ! -d "$dir" ]; then
  say "$dir is there and is no directory"
  exit 10
fi
if [ -d "$dir" ] && ! owned && ! empty; then
  say "$dir has files in it that are not bela's"
  exit 10
fi
for tool in awk grep sed sort cut readlink; do
  command -v "$tool" >/dev/null 2>&1 || { say "the program $tool is missing"; exit 13; }
done
# An agent that is there and may run says the same, and starts no program.
if [ -w "$dir" ] && owned; then
  for agent in "$dir"/bin/bela-agent-*; do [ ! -x "$agent" ] || exit 0; done
fi
at=$dir
while [ ! -d "$at" ]; do
  at=${at%/*}
  at=${at:-/}
done
probe=$at/.bela-check-$$
set -C # nothing that is there is written to
true >"$probe" 2>/dev/null || { say "$at cannot be written to"; exit 11; }
trap 'rm -f -- "$probe"' EXIT
trap 'exit 1' HUP INT TERM
chmod 700 -- "$probe" || { say "$at cannot be written to"; exit 11; }
[ -x "$probe" ] || { say "no program can run in $at: it may be mounted noexec"; exit 12; }
exit 0
