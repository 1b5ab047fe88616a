# A systemd of its own, as the first process of namespaces of its own, for tests:
# systemd.sh outside NAME LAYOUT. It prints the first process's number and ends,
# with all that it made, when its input does. LAYOUT is v1 (controllers of version
# 1, systemd's own hierarchy too), hybrid (systemd's own is of version 2) or v2.
set -e
case $1 in
outside)
	name=$2 layout=$3
	groups=
	while read -r _ point kind options _; do
		case $kind,$options, in
		cgroup2,*) ;;
		cgroup,*,cpu,* | cgroup,*,cpuacct,* | cgroup,*,memory,* | cgroup,*,pids,* | cgroup,*,name=systemd,*) ;;
		*) continue ;;
		esac
		mkdir "$point/$name"
		groups="$groups $point/$name"
		[ "$layout" != v2 ] || echo "+cpu +memory +pids" >"$point/cgroup.subtree_control"
	done </proc/self/mounts
	(
		for group in $groups; do echo 0 >"$group/cgroup.procs"; done
		exec unshare --fork --kill-child=KILL --pid --mount --cgroup --uts --ipc --net sh "$0" inside "$layout" </dev/null
	) &
	bed=$!
	cat >/dev/null
	kill -KILL "$bed"
	wait "$bed" || :
	for group in $groups; do
		left=100
		until find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null && [ ! -d "$group" ]; do
			left=$((left - 1))
			[ "$left" -gt 0 ] || { echo "left: $(find "$group" -type d)" >&2; exit 1; }
			sleep 0.05
		done
	done
	;;
inside)
	read -r pid _ </proc/self/stat # outside: /proc is still the machine's
	mount --make-rprivate /
	mount -t proc proc /proc
	mount -t tmpfs -o mode=755 bed /run
	if [ "$2" = v2 ]; then
		mount -t cgroup2 bed /sys/fs/cgroup
	else
		mount -t tmpfs -o mode=755 bed /sys/fs/cgroup
		for c in cpu cpuacct memory pids; do
			mkdir "/sys/fs/cgroup/$c"
			mount -t cgroup -o "$c" bed "/sys/fs/cgroup/$c"
		done
		mkdir /sys/fs/cgroup/systemd
		mount -t cgroup -o none,name=systemd bed /sys/fs/cgroup/systemd
		[ "$2" = v1 ] || { mkdir /sys/fs/cgroup/unified && mount -t cgroup2 bed /sys/fs/cgroup/unified; }
	fi
	mkdir /run/bed /run/dbus
	mkdir -m 1777 /run/tmp
	mount -o remount,bind,ro /
	# Its only units: nothing of the machine's is started.
	cat >/run/bed/bed.target <<-END
		[Unit]
		DefaultDependencies=no
		Requires=dbus.socket
		After=dbus.socket
	END
	cat >/run/bed/dbus.socket <<-END
		[Unit]
		DefaultDependencies=no
		[Socket]
		ListenStream=/run/dbus/system_bus_socket
	END
	cat >/run/bed/dbus.service <<-END
		[Unit]
		DefaultDependencies=no
		Requires=dbus.socket
		[Service]
		Type=notify
		NotifyAccess=main
		ExecStart=$(command -v dbus-daemon) --system --address=systemd: --nofork --nopidfile --systemd-activation
	END
	echo "$pid"
	cd /
	exec env -i PATH="$PATH" container=bela SYSTEMD_UNIT_PATH=/run/bed SYSTEMD_LOG_TARGET=console \
		/lib/systemd/systemd --system --unit=bed.target --show-status=no >&2
	;;
esac
