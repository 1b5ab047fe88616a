# Can bela work in $dir? Writes a file that runs, and removes it.
if [ -e "$dir" ] && [ ! -d "$dir" ]; then
  say "$dir is there and is no directory"
  exit 10
fi
if [ -d "$dir" ] && ! owned && ! empty; then
  say "$dir has files in it that are not bela's"
  exit 10
fi
at=$dir
while [ ! -d "$at" ] && [ "$at" != / ]; do at=$(dirname -- "$at"); done
probe=$(mktemp "$at/.bela-check-XXXXXX") || { say "$at cannot be written to"; exit 11; }
trap 'rm -f -- "$probe"' EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 0\n' >"$probe" && chmod 700 "$probe" || { say "$at cannot be written to"; exit 11; }
"$probe" || { say "no program can run in $at: it may be mounted noexec"; exit 12; }
for tool in awk grep sed sort cut readlink mktemp setsid; do
  command -v "$tool" >/dev/null 2>&1 || { say "the program $tool is missing"; exit 13; }
done
exit 0
