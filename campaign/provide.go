package campaign

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bela/event"
	"bela/experiment"
	"bela/nodes"
	"bela/provision"
)

// How long what a component needs may take to come to a node.
const (
	packagesLimit  = 10 * time.Minute
	artifactsLimit = 5 * time.Minute
	platformLimit  = 5 * time.Minute
)

// provisions is what a node has been given beyond the agent, so that it is
// given once, and what could not be given is not tried in every cell.
type provisions struct {
	mu   sync.Mutex // held while giving: apt and large files come one after another
	done map[string]error
	// platform is the built-in platform's path on the node; empty where it is not
	// there, or not known to be. It is looked at again once there is doubt.
	platform string
	doubt    bool
}

// hasPlatform notes that the built-in platform is on the node, at a path, or with
// an empty one that this is not known.
func (p *provisions) hasPlatform(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.platform, p.doubt = path, false
}

// doubtPlatform has the built-in platform looked at before it is started again.
func (p *provisions) doubtPlatform() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubt = true
}

// platformPath is where the built-in platform is on the node; empty where it is
// not known to be there. sure says that nothing speaks against it.
func (p *provisions) platformPath() (path string, sure bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.platform, p.platform != "" && !p.doubt
}

// once does a thing and remembers how it went, unless it was interrupted.
func (p *provisions) once(ctx context.Context, what string, do func() error) error {
	if err, known := p.done[what]; known {
		return err
	}
	err := do()
	if ctx.Err() != nil || nodes.KindOf(err) == nodes.LinkLost {
		return err
	}
	if p.done == nil {
		p.done = make(map[string]error)
	}
	p.done[what] = err
	return err
}

// provideLimit is how long it may take to give a component what it needs.
func provideLimit(c experiment.Component) (limit time.Duration) {
	if len(c.Packages) > 0 {
		limit += packagesLimit
	}
	if len(c.Artifacts) > 0 {
		limit += artifactsLimit
	}
	return limit
}

// platform gives the path of the built-in platform on a node, and brings it there
// first where it did not come with the agent: to a node whose agent was taken over
// or started anew, and to one that stands in for another.
func (c *cellRun) platform(ctx context.Context, m *member) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, platformLimit, fmt.Errorf("the built-in platform took longer than %v", platformLimit))
	defer cancel()
	p := &m.provisions
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.platform != "" && !p.doubt {
		return p.platform, nil
	}
	over := c.waitingFor(event.PhaseStart, "the built-in platform on "+m.name())
	defer over()
	depot := provision.NewDepot(c.testbed.source)
	defer depot.Close()
	err := m.overSSH(ctx, func(n *nodes.Node) error {
		brought, err := depot.Bring(ctx, n, provision.Watch{Note: c.testbed.watch(m).Note})
		if err == nil {
			p.platform, p.doubt = brought.Path, false
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("the built-in platform: %w", err)
	}
	return p.platform, nil
}

// platformNodes names the nodes on which some cell has built-in components.
func platformNodes(cells []experiment.Cell) map[string]bool {
	on := make(map[string]bool)
	for _, cell := range cells {
		for _, c := range cell.Components {
			for _, i := range c.Instances {
				if c.BuiltIn() {
					on[i.Node] = true
				}
			}
		}
	}
	return on
}

// provide brings a component's packages and artifacts to the node of one of its
// instances, where they are not there yet.
func (c *cellRun) provide(ctx context.Context, m *member, of experiment.Component) error {
	if provideLimit(of) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, provideLimit(of), fmt.Errorf("packages and artifacts took longer than %v", provideLimit(of)))
	defer cancel()
	p := &m.provisions
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(of.Packages) > 0 {
		what := "packages " + strings.Join(of.Packages, ", ")
		err := p.once(ctx, fmt.Sprint(what, of.KeepPackages), func() error {
			over := c.waitingFor(event.PhaseStart, fmt.Sprintf("%s on %s", what, m.name()))
			defer over()
			return m.overSSH(ctx, func(n *nodes.Node) error { return provision.Install(ctx, n, of.Packages, of.KeepPackages) })
		})
		if err != nil {
			return err
		}
	}
	for _, a := range of.Artifacts {
		err := p.once(ctx, "artifact "+a.Path+" "+a.SHA256, func() error {
			over := c.waitingFor(event.PhaseStart, fmt.Sprintf("artifact %s on %s", filepath.Base(a.Source), m.name()))
			defer over()
			return m.overSSH(ctx, func(n *nodes.Node) error {
				_, err := provision.PushArtifact(ctx, n, a.Path, a.SHA256)
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("artifact %q: %w", a.Name, err)
		}
	}
	return nil
}

// shownLines is how many of a component's last lines an error carries.
const shownLines = 5

// lastLines is the end of a component's log as an error has it: on one line, with
// nothing that could act on a terminal.
func lastLines(log []string) string {
	if len(log) == 0 {
		return ""
	}
	log = log[max(0, len(log)-shownLines):]
	shown := make([]string, len(log))
	for i, line := range log {
		shown[i] = fmt.Sprintf("%.300q", line)
	}
	return "; its last lines: " + strings.Join(shown, " ")
}

// archive is the ending of an archive's name.
func archive(source string) string {
	endings := []string{".tar.gz", ".tgz", ".tar", ".zip"}
	i := slices.IndexFunc(endings, func(end string) bool { return strings.HasSuffix(source, end) })
	if i < 0 {
		return ""
	}
	return endings[i]
}
