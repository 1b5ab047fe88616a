# Removes what bela put on the node. What comes after $1 are programs to keep.
[ -e "$dir" ] || exit 0
shift
if ! owned; then
  if [ -d "$dir" ] && empty; then rmdir -- "$dir"; exit; fi
  say "$dir has files in it that are not bela's"
  exit 10
fi
# Control groups lie outside the directory; an agent that was killed leaves them.
# Their processes have ended; each stays busy for a moment after its last.
recorded cgroup | while IFS= read -r path; do
  case $path in
    */../* | */..) continue ;;
    */bela/*) ;;
    *) continue ;;
  esac
  left=20
  while [ -f "$path/cgroup.procs" ] && ! rmdir -- "$path" 2>/dev/null && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.1
  done
  case $path in
    */bela/*/*) ;;
    *) rmdir -- "${path%/*}" 2>/dev/null ;; # bela itself, unless another agent uses it
  esac
done
# systemd removes a unit with its last process, but where nobody tells it: in a
# container with control groups of version 1.
units | while IFS= read -r unit; do manager stop "$unit" 2>/dev/null; done
# State of components lies outside too.
recorded state | while IFS= read -r path; do
  case $path in
    */../* | */..) ;;
    /var/lib/?* | /var/log/?* | /var/cache/?* | /var/tmp/?* | /var/spool/?* | /tmp/?* | /run/?* | /srv/?* | /opt/?* | /dev/shm/?*)
      above=$(dirname -- "$path")
      [ "$(readlink -f -- "$above")" != "$above" ] || rm -rf -- "$path"
      ;;
  esac
done
if [ -f "$dir/undo-packages.sh" ]; then
  sh "$dir/undo-packages.sh" || exit
  rm -f -- "$dir/undo-packages.sh"
fi
parents=$(recorded parent)
rm -rf -- "$dir/run" "$dir/cells" "$dir/artifacts" || exit 11
kept=
for file in "$dir"/bin/*; do
  stays=
  for keep; do [ "$file" != "$keep" ] || stays=yes; done
  if [ -n "$stays" ] && [ -f "$file" ]; then
    [ -n "$kept" ] || printf '%s\n' "$magic" >"$dir/MANIFEST.new"
    [ -n "$kept" ] || grep -F -e "${tab}directory${tab}" -e "${tab}parent${tab}" "$dir/MANIFEST" >>"$dir/MANIFEST.new"
    grep -F -e "${tab}file${tab}$file${tab}" "$dir/MANIFEST" >>"$dir/MANIFEST.new"
    kept=yes
  else
    rm -rf -- "$file"
  fi
done
if [ -n "$kept" ]; then
  mv -f -- "$dir/MANIFEST.new" "$dir/MANIFEST"
  exit
fi
rm -rf -- "$dir/bin" "$dir/MANIFEST.new" || exit 11
others=
for file in "$dir"/* "$dir"/.[!.]* "$dir"/..?*; do
  if [ -e "$file" ] || [ -L "$file" ]; then
    [ "$file" = "$dir/MANIFEST" ] || others="$others ${file##*/}"
  fi
done
if [ -n "$others" ]; then
  say "these files in $dir are not bela's and stay:$others"
  exit 24
fi
# The record goes last: a removal that is cut short can be taken up again.
rm -f -- "$dir/MANIFEST" && rmdir -- "$dir" || exit 11
printf '%s\n' "$parents" | while IFS= read -r made; do
  [ -z "$made" ] || rmdir -- "$made" 2>/dev/null # another may use it by now
done
exit 0
