package snapshot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/netns/snapshot"
)

// Whatever a program can leave on a machine must show, or "every node is as
// before" says nothing: each kind of leftover is planted, and demanded back.
func TestEveryKindOfLeftoverShows(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}}}).Node(0)
	before, err := snapshot.Take(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := snapshot.Await(ctx, n, before); err != nil || len(found) > 0 {
		t.Fatalf("nothing was done: %v, %v", found, err)
	}
	for section, plant := range map[string]string{
		"processes": `setsid sleep 4712 >/dev/null 2>&1 &`,
		"ports":     `setsid /usr/sbin/sshd -D -p 2222 -h /etc/ssh/host_key -f /dev/null -o PidFile=none >/dev/null 2>&1 & while ! grep -q :08AE /proc/net/tcp; do sleep 0.05; done`,
		"files":     `ln -s /nowhere /var/tmp/left`,
		"cgroups":   `for g in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -w $g/cgroup.procs ] || { mkdir $g/left; break; }; done`,
		"sysctls":   `echo 4096 >/proc/sys/net/core/somaxconn; echo 12345 >/proc/sys/net/ipv4/tcp_max_syn_backlog`,
		"firewall":  `nft add table inet left`,
		"queues":    `tc qdisc add dev lo root tbf rate 1gbit burst 1mb latency 1ms`,
		"links":     `ip link add left type veth peer name right`,
	} {
		if _, err := n.Run(ctx, "/bin/sh", "-c", plant); err != nil {
			t.Fatalf("%s: %v", section, err)
		}
	}
	after, err := snapshot.Take(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Join(snapshot.Compare(before, after), "\n")
	for _, want := range []string{"+ processes: sleep 4712", "+ ports: tcp 00000000:08AE", "+ files: /var/tmp/left", "+ cgroups: ", "tcp_max_syn_backlog:12345",
		"+ firewall: table inet left", "+ queues: qdisc tbf", "left@right"} {
		if !strings.Contains(found, want) {
			t.Errorf("no %q in what was left:\n%s", want, found)
		}
	}
}
