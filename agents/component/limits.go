package component

import (
	"fmt"
	"os"
)

// limits are what an instance may use: thousandths of a core, and bytes. 0 is no
// limit.
type limits struct {
	cpu    int
	memory int64
}

func (l limits) any() bool { return l.cpu > 0 || l.memory > 0 }

// confine makes an instance's group and limits it: through systemd where it runs
// the host, for the tree of groups is its own there; else, or where it refuses,
// by hand. An error without a group says why there is none, one with a group
// which limits do not hold.
func (gs *groups) confine(name string, l limits) (*group, error) {
	if gs.units == nil {
		return gs.byHand(name, l)
	}
	unit, refused := gs.units.create(name, l)
	if refused == nil {
		if refused = unit.limit(l); refused == nil {
			return unit, nil
		}
	}
	own, err := gs.byHand(name, l)
	if err == nil {
		return own, unit.remove(killWait)
	}
	err = fmt.Errorf("through systemd: %w; by hand: %w", refused, err)
	if unit == nil {
		return own, err
	}
	if left := own.remove(killWait); left != nil {
		err = fmt.Errorf("%w; %w", err, left)
	}
	return unit, err // it counts at least
}

func (gs *groups) byHand(name string, l limits) (*group, error) {
	g, err := gs.create(name)
	if err != nil {
		return nil, err
	}
	return g, g.limit(l)
}

// by says what enforces the limits.
func (g *group) by() string {
	version := "cgroup v1"
	if g.v2 {
		version = "cgroup v2"
	}
	if g.unit != nil {
		return "systemd unit " + g.unit.name + " (" + version + ")"
	}
	return version
}

// findUnits finds the systemd of this login; nil where none runs the host.
func (gs *groups) findUnits(proc string) *units {
	if !isDir(bootedBySystemd) {
		return nil
	}
	u := &units{id: gs.id, proc: proc}
	u.manager, u.err = findManager("/run/user", os.Geteuid())
	return u
}
