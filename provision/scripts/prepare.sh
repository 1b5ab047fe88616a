# Makes bela's directory. $2 says who does it, $3 and $4 what comes next:
# a kind and a path to record before it is there.
if [ -e "$dir" ] && ! owned; then
  if [ ! -d "$dir" ] || ! empty; then
    say "$dir has files in it that are not bela's"
    exit 10
  fi
fi
parents=
at=${dir%/*}
while [ ! -d "${at:-/}" ]; do
  parents="$parents$at
"
  at=${at%/*}
done
if ! owned; then
  mkdir -p -- "$dir" && chmod 700 -- "$dir" || exit 11
  printf '%s\n' "$magic" >"$dir/MANIFEST" || exit 11
  record directory "$dir" "$2"
  printf '%s' "$parents" | while IFS= read -r made; do record parent "$made" "$2"; done
fi
record "$3" "$4" "$2" || exit 11
[ -d "$dir/bin" ] || mkdir -p -- "$dir/bin" || exit 11
exit 0
