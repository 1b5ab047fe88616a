# Facts of a node, one key=value a line. $1 is bela's directory.
# Every tool may be missing; an empty value is an unknown one.
LC_ALL=C; export LC_ALL
echo "os=$(uname -s)"
[ "$(uname -s)" = Linux ] || exit 0
echo "machine=$(uname -m)"
echo "kernel=$(uname -r)"
echo "hostname=$(uname -n)"
if [ -r /etc/os-release ]; then
  (. /etc/os-release 2>/dev/null; echo "distribution=$PRETTY_NAME")
fi
echo "cpus=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo)"
echo "cpu_model=$(sed -n 's/^\(model name\|Model\|Hardware\)[[:space:]]*:[[:space:]]*//p' /proc/cpuinfo | head -n 1)"
echo "memory_kib=$(sed -n 's/^MemTotal:[[:space:]]*\([0-9]*\) kB$/\1/p' /proc/meminfo)"
echo "memory_available_kib=$(sed -n 's/^MemAvailable:[[:space:]]*\([0-9]*\) kB$/\1/p' /proc/meminfo)"
echo "open_files_soft=$(ulimit -Sn)"
echo "open_files_hard=$(ulimit -Hn)"
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
at=$1
while [ ! -d "$at" ] && [ "$at" != / ]; do at=$(dirname -- "$at"); done
echo "disk_free_kib=$(df -Pk -- "$at" 2>/dev/null | awk 'NR == 2 { print $4 }')"
exit 0
