# Facts of a node, one key=value a line. $1 is bela's directory.
# Every tool may be missing; an empty value is an unknown one. A hundred nodes are
# looked at side by side: what the shell can do itself starts no program, and one
# sed reads all files.
LC_ALL=C; export LC_ALL
at=$1
set -- $(uname -s -m)
echo "os=$1"
[ "$1" = Linux ] || exit 0
echo "machine=$2"
# The first two files have one line each. Of the processors the first says its
# model. What sed may use of the processors, and who it is, holds for the login.
sed -n -e '1s/^/hostname=/p' -e '2s/^/kernel=/p' \
  -e 's/^\([0-9a-f]\{8\}\(-[0-9a-f]\{4\}\)\{3\}-[0-9a-f]\{12\}\)$/boot_id=\1/p' \
  -e 's/^\([0-9][0-9]*[[:space:]][[:space:]]*[0-9][0-9]*\)$/ports=\1/p' \
  -e 's/^PRETTY_NAME=["'\'']\{0,1\}\([^"'\'']*\).*/distribution=\1/p' \
  -e 's/^Uid:[[:space:]]*[0-9]*[[:space:]]*\([0-9]*\).*/uid=\1/p' \
  -e 's/^Cpus_allowed_list:[[:space:]]*/cpus=/p' \
  -e 's/^MemTotal:[[:space:]]*\([0-9]*\) kB$/memory_kib=\1/p' \
  -e 's/^MemAvailable:[[:space:]]*\([0-9]*\) kB$/memory_available_kib=\1/p' \
  -e '/^\(model name\|Model\|Hardware\)[[:space:]]*:/{
  x
  /./{
    x
    d
  }
  x
  s/^[^:]*:[[:space:]]*/cpu_model=/
  h
  p
}' /proc/sys/kernel/hostname /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id /proc/sys/net/ipv4/ip_local_port_range \
  /etc/os-release /proc/self/status /proc/cpuinfo /proc/meminfo 2>/dev/null
printf 'open_files_soft='
ulimit -Sn
printf 'open_files_hard='
ulimit -Hn
echo "user=${LOGNAME:-$(id -un)}"
echo "home=$HOME"
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
