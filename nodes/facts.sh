# Facts of a node, one key=value a line. $1 is bela's directory.
# Every tool may be missing; an empty value is an unknown one. A hundred nodes are
# looked at side by side: what the shell can do itself starts no program.
LC_ALL=C; export LC_ALL
at=$1
os=$(uname -s)
echo "os=$os"
[ "$os" = Linux ] || exit 0
echo "machine=$(uname -m)"
set -- $(uname -n -r)
echo "hostname=$1"
echo "kernel=$2"
if [ -r /etc/os-release ]; then
  (. /etc/os-release 2>/dev/null; echo "distribution=$PRETTY_NAME")
fi
echo "cpus=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo)"
# Of the processors the first says its model.
sed -n -e '/^\(model name\|Model\|Hardware\)[[:space:]]*:/{
  x
  /./{
    x
    d
  }
  x
  s/^[^:]*:[[:space:]]*/cpu_model=/
  h
  p
}' -e 's/^MemTotal:[[:space:]]*\([0-9]*\) kB$/memory_kib=\1/p' \
  -e 's/^MemAvailable:[[:space:]]*\([0-9]*\) kB$/memory_available_kib=\1/p' /proc/cpuinfo /proc/meminfo 2>/dev/null
echo "open_files_soft=$(ulimit -Sn)"
echo "open_files_hard=$(ulimit -Hn)"
# A shell's read goes byte by byte, and these files give all at once or nothing.
echo "ports=$(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null)"
echo "uid=$(id -u)"
echo "user=$(id -un)"
echo "home=$HOME"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  echo "cgroup=2"
elif [ -d /sys/fs/cgroup/cpu ] || [ -d /sys/fs/cgroup/memory ] || [ -d /sys/fs/cgroup/cpuacct ]; then
  echo "cgroup=1"
fi
# The directory need not exist yet: look at the nearest one above it that does.
while [ ! -d "$at" ]; do
  case $at in
    /*/*) at=${at%/*} ;;
    *) at=/ ;;
  esac
done
df -Pk -- "$at" 2>/dev/null | {
  line=
  read -r _ && read -r _ _ _ line _
  echo "disk_free_kib=$line"
}
exit 0
