# Prints what bela has on the node, one thing a line.
for pid in $(processes); do
  printf 'process %s %s\n' "$pid" "$(readlink "/proc/$pid/exe" 2>/dev/null)"
done
if ! owned; then # whatever is there is not bela's
  if [ -d "$dir" ] && empty; then printf 'directory %s\n' "$dir"; fi
  exit 0
fi
recorded cgroup | while IFS= read -r path; do
  [ ! -d "$path" ] || printf 'cgroup %s\n' "$path"
done
units | while IFS= read -r unit; do
  [ "$(manager show -P LoadState "$unit" 2>/dev/null)" != loaded ] || printf 'unit %s\n' "$unit"
done
recorded state | while IFS= read -r path; do
  [ ! -e "$path" ] || printf 'state %s\n' "$path"
done
recorded package | while IFS= read -r package; do
  case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
    '' | not-installed) ;;
    *) printf 'package %s\n' "$package" ;;
  esac
done
for file in "$dir"/* "$dir"/.[!.]* "$dir"/..?*; do
  if [ -e "$file" ] || [ -L "$file" ]; then printf 'file %s\n' "$file"; fi
done
exit 0
