# Prints what bela has on the node, one thing a line.
for pid in $(processes); do
  printf 'process %s %s\n' "$pid" "$(readlink "/proc/$pid/exe" 2>/dev/null)"
done
recorded cgroup | while IFS= read -r path; do
  [ ! -d "$path" ] || printf 'cgroup %s\n' "$path"
done
if [ -d "$dir" ]; then
  for file in "$dir"/* "$dir"/.[!.]* "$dir"/..?*; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf 'file %s\n' "$file"; fi
  done
  ! empty || printf 'directory %s\n' "$dir"
fi
exit 0
