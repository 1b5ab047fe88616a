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

// How long packages and artifacts of a component may take to come to a node.
const (
	packagesLimit  = 10 * time.Minute
	artifactsLimit = 5 * time.Minute
)

// provisions is what a node has been given beyond the agent, so that it is
// given once, and what could not be given is not tried in every cell.
type provisions struct {
	mu   sync.Mutex // held while giving: apt and large files come one after another
	done map[string]error
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
