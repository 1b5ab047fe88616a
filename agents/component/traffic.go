package component

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"bela/agents/meter"
	"bela/agents/protocol"
)

// traffic reads what goes in and out of the instances that do not tell it
// themselves. The kernel's sockets are read once for all of them.
type traffic struct {
	mu      sync.Mutex
	sockets *meter.Sockets // nil while no instance needs it
	failing bool           // the last look failed, which was told
	missed  bool           // sockets that closed were missed, which was told
}

// readsSockets tells whether the instance's traffic is that of its sockets.
func (in *instance) readsSockets() bool {
	return in.spec.Meter != nil && in.spec.Meter.Source == protocol.TrafficSockets
}

// expect opens what is needed before the first of an instance's sockets.
func (t *traffic) expect(in *instance) {
	if !in.readsSockets() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sockets != nil {
		return
	}
	s, watched, err := meter.OpenSockets()
	if err != nil {
		in.sup.warn("network traffic of " + in.String() + " and others: " + err.Error() + "; its net columns stay empty")
		return
	}
	if !watched {
		in.sup.warn("the kernel does not tell of sockets that close: of each, what it carried in its last second is not counted")
	}
	t.sockets, t.failing, t.missed = s, false, false
}

// close lets go of the sockets; nothing runs any more.
func (t *traffic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sockets != nil {
		t.sockets.Close()
		t.sockets = nil
	}
}

// look reads the sockets of those instances that are counted by them.
func (t *traffic) look(s *Supervisor, all []*instance) map[*instance]*protocol.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sockets == nil {
		return nil
	}
	var owners []meter.Owner
	for _, in := range all {
		if in.readsSockets() {
			owners = append(owners, in.owner())
		}
	}
	if len(owners) == 0 {
		return nil
	}
	before := s.Now()
	sums, missed, err := t.sockets.Look(owners)
	at := before + (s.Now()-before)/2
	if err != nil {
		if !t.failing {
			s.warn("network traffic of processes: " + err.Error() + "; their net columns have a gap")
		}
		t.failing = true
		return nil
	}
	t.failing = false
	if missed && !t.missed {
		t.missed = true
		s.warn("more sockets closed at once than the kernel could tell of: what some carried in their last second is not counted")
	}
	read := make(map[*instance]*protocol.Traffic)
	for _, in := range all {
		if sum, ok := sums[in.socketKey()]; ok && in.readsSockets() {
			read[in] = &protocol.Traffic{At: at, Source: protocol.TrafficSockets, BytesIn: &sum.In, BytesOut: &sum.Out}
		}
	}
	return read
}

func (in *instance) socketKey() string { return in.String() + "@" + strconv.Itoa(in.pid) }

func (in *instance) owner() meter.Owner {
	o := meter.Owner{Key: in.socketKey(), InPorts: in.spec.Meter.InPorts, OutPorts: in.spec.Meter.OutPorts,
		Inodes: func() []uint32 { return socketsOf(in.pids()) }}
	if in.group != nil && in.group.v2 {
		o.Group = groupID(in.group.paths[0])
	}
	return o
}

// groupID is a version 2 control group's number, by which the kernel names it in
// sockets: its directory's inode. 0 is unknown.
func groupID(dir string) uint64 {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return 0
	}
	return st.Ino
}

// pids are the instance's processes as last known.
func (in *instance) pids() []int {
	if in.group != nil {
		return in.group.members()
	}
	in.usageMu.Lock()
	defer in.usageMu.Unlock()
	pids := []int{in.pid}
	for pid := range in.tree.known {
		if pid != in.pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// socketsOf are the inodes of the sockets that processes hold.
func socketsOf(pids []int) []uint32 {
	var inodes []uint32
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		names, err := readNames(dir)
		if err != nil {
			continue // it has just ended
		}
		for _, name := range names {
			target, err := os.Readlink(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			text, ok := strings.CutPrefix(target, "socket:[")
			if !ok {
				continue
			}
			if n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32); err == nil {
				inodes = append(inodes, uint32(n))
			}
		}
	}
	return inodes
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Readdirnames(-1)
}

// openMeter begins to ask the source of an instance that is ready.
func (in *instance) openMeter() {
	spec := in.spec.Meter
	if spec == nil || in.readsSockets() {
		return
	}
	in.meterMu.Lock()
	defer in.meterMu.Unlock()
	if in.life.Load() == dead {
		return
	}
	m, err := meter.Open(*spec, meter.Options{Now: in.sup.Now, Warn: func(text string) {
		in.sup.warn(fmt.Sprintf("component %s: %s", in.key, text))
	}})
	if err != nil { // Start has checked it
		in.sup.warn(fmt.Sprintf("component %s: %v", in.key, err))
		return
	}
	in.meter = m
}

// closeMeter ends it.
func (in *instance) closeMeter() {
	in.meterMu.Lock()
	m := in.meter
	in.meter = nil
	in.meterMu.Unlock()
	if m != nil {
		m.Close()
	}
}

// metered is the newest reading of the instance's source, once.
func (in *instance) metered() *protocol.Traffic {
	in.meterMu.Lock()
	defer in.meterMu.Unlock()
	if in.meter == nil {
		return nil
	}
	return in.meter.Take()
}

// warn tells the operator something that costs numbers.
func (s *Supervisor) warn(text string) {
	s.Logger.Warn(text)
	if s.OnWarn != nil {
		s.OnWarn(text)
	}
}
