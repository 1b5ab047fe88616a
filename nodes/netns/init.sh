# The first process of a node, which all others on it end with. Twice: outside
# it joins the node's control groups, inside it makes the node's own view.
# $1 stage, $2 the node's directory, $3 host name, $4 "keep" or "owned"; after
# those, outside, its control groups. Descriptor 3 is its owner's end.
set -e
dir=$2
case $1 in
outside)
	name=$3 keep=$4
	shift 4
	for group; do echo 0 >"$group/cgroup.procs"; done
	exec unshare --cgroup /bin/sh "${dir%/*/*}/init.sh" inside "$dir" "$name" "$keep"
	;;
inside)
	hostname "$3"
	mount --make-rprivate /
	mount -a -T "$dir/fstab"
	# The first process must not be in the group at the top: in version 2 that
	# would keep the groups below it from having controllers.
	for top in /sys/fs/cgroup /sys/fs/cgroup/unified; do
		[ ! -f "$top/cgroup.subtree_control" ] || { mkdir "$top/system" && echo 0 >"$top/system/cgroup.procs"; }
	done
	mkdir -p /run/sshd /run/lock
	mount -o remount,bind,ro /
	cd /
	echo ready
	read -r _ <&3
	[ ! -f /etc/ssh/links ] || ip -batch /etc/ssh/links
	echo linked
	exec >/dev/null
	;;
switch)
	echo ready
	exec >/dev/null
	;;
esac
# It waits, which also takes in the orphans, until its owner is gone.
while :; do
	if [ "$4" = keep ]; then sleep 1000000 3<&- & else cat <&3 >/dev/null & fi
	wait $!
	[ "$4" = keep ] || exit 0
done
