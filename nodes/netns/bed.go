package netns

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"bela/nodes"
)

// Options say what bed to make.
type Options struct {
	// Name tells this bed from others on the machine: small letters, digits and
	// dashes, at most 24. Empty is a name that no other process uses.
	Name string
	// Groups are the node groups of the inventory; empty is one node each of
	// master, worker, iot and customer.
	Groups []Group
	// Gateway puts a further node between the controller and the others, which
	// are then reached only through it.
	Gateway bool
	// HomeBytes is the size of each node's /root, which is a file system of its
	// own; 0 is 512 MiB. It takes memory only as it fills.
	HomeBytes int64
	// Keep lets the bed outlive this process, until Down.
	Keep bool
}

// Group is a node group: Count nodes, named after it as bela names them
// (worker-1, worker-2, …).
type Group struct {
	Name  string
	Count int
}

const (
	defaultHome = 512 << 20
	// upTime bounds the start of a bed: 100 nodes take a few seconds.
	upTime = 2 * time.Minute
)

// MaxNodes is how many nodes one bed has addresses for.
const MaxNodes = 490

// Bed is a running testbed.
type Bed struct {
	name    string
	dir     string
	options Options
	net     network
	sw      *holder // the namespace of the bridge
	gateway *Node   // nil without one
	nodes   []*Node
	key     ed25519.PrivateKey // logs in everywhere
	lock    *os.File           // held while this process has the bed
}

// made counts the beds of this process, for their names.
var made atomic.Int64

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,23}$`)

// Up makes a bed and returns when every node's SSH server listens. What an
// earlier owner of the name left, and every bed whose owner has died, is removed
// first. ctx bounds the making alone; Down is needed in the end.
func Up(ctx context.Context, o Options) (_ *Bed, err error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	b := &Bed{name: o.Name, options: o, dir: filepath.Join(stateDir, o.Name)}
	if b.lock, err = claim(o.Name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("testbed %s: %w", o.Name, err), b.Down(context.WithoutCancel(ctx)))
		}
	}()
	if err := remove(ctx, o.Name); err != nil {
		return nil, err
	}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	return b, b.start(ctx)
}

// complete checks the options and fills in what was left out.
func (o *Options) complete() error {
	if o.Name == "" {
		o.Name = fmt.Sprintf("p%d-%d", os.Getpid(), made.Add(1))
	}
	if !nameForm.MatchString(o.Name) {
		return fmt.Errorf("testbed: %q is no name for one: use at most 24 small letters, digits and dashes", o.Name)
	}
	if len(o.Groups) == 0 {
		o.Groups = []Group{{"master", 1}, {"worker", 1}, {"iot", 1}, {"customer", 1}}
	}
	if o.HomeBytes <= 0 {
		o.HomeBytes = defaultHome
	}
	total, seen := 0, map[string]bool{}
	for _, g := range o.Groups {
		if !nameForm.MatchString(g.Name) || seen[g.Name] || g.Count < 1 {
			return fmt.Errorf("testbed: node group %q with %d nodes: want names that differ, and at least one node", g.Name, g.Count)
		}
		seen[g.Name] = true
		total += g.Count
	}
	if total > MaxNodes {
		return fmt.Errorf("testbed: %d nodes; one bed has room for %d", total, MaxNodes)
	}
	return nil
}

// Spread divides n nodes into the groups of the shipped experiments: one
// master, the rest shared by worker, iot and customer. n is at least 4.
func Spread(n int) []Group {
	rest := n - 1
	return []Group{{"master", 1}, {"worker", rest - 2*(rest/3)}, {"iot", rest / 3}, {"customer", rest / 3}}
}

// prepare makes the bed's directory, keys and the files of each node.
func (b *Bed) prepare() (err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	record, err := json.Marshal(state{Keep: b.options.Keep, Owner: os.Getpid()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, stateFile), record, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "init.sh"), initScript, 0o600); err != nil {
		return err
	}
	if _, b.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return err
	}
	if _, err := writeKey(filepath.Join(b.dir, "id"), b.key); err != nil {
		return err
	}
	if b.options.Gateway {
		b.gateway = &Node{bed: b, name: "gateway"}
		if err := b.gateway.prepare(); err != nil {
			return err
		}
	}
	for _, g := range b.options.Groups {
		for i := range g.Count {
			n := &Node{bed: b, name: fmt.Sprintf("%s-%d", g.Name, i+1), group: g.Name, index: len(b.nodes) + 1}
			if err := n.prepare(); err != nil {
				return err
			}
			b.nodes = append(b.nodes, n)
		}
	}
	return nil
}

// all are the nodes, and the gateway where there is one.
func (b *Bed) all() []*Node {
	if b.gateway == nil {
		return b.nodes
	}
	return append([]*Node{b.gateway}, b.nodes...)
}

// startsAtOnce is how many nodes start side by side.
const startsAtOnce = 16

func (b *Bed) start(ctx context.Context) (err error) {
	if b.sw, err = b.hold(ctx, "switch", "", nil); err != nil {
		return err
	}
	if err := nodes.Each(ctx, b.all(), startsAtOnce, func(ctx context.Context, n *Node) error { return n.hold(ctx) }); err != nil {
		return err
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	if err := b.writeInventory(); err != nil {
		return err
	}
	return nodes.Each(ctx, b.all(), startsAtOnce, func(ctx context.Context, n *Node) error { return n.serve(ctx) })
}

// Name is the bed's name.
func (b *Bed) Name() string { return b.name }

// Nodes are the nodes in the order of the groups, without the gateway.
func (b *Bed) Nodes() []*Node { return b.nodes }

// Node is the i-th node, from 0.
func (b *Bed) Node(i int) *Node { return b.nodes[i] }

// Gateway is the node before the others; nil where there is none.
func (b *Bed) Gateway() *Node { return b.gateway }

// Find gives the node of that name, such as "worker-1".
func (b *Bed) Find(name string) (*Node, error) {
	for _, n := range b.all() {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("testbed %s has no node %q", b.name, name)
}

// Inventory is the path of the inventory file for `bela run -inventory`; the
// client key and known_hosts that it names lie beside it.
func (b *Bed) Inventory() string { return filepath.Join(b.dir, "inventory.hcl") }

// Down ends every process on the nodes and removes all that Up made. It may be
// called more than once.
func (b *Bed) Down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downTime)
	defer cancel()
	for _, n := range b.all() {
		n.holder.end()
	}
	b.sw.end()
	err := remove(ctx, b.name)
	if b.lock != nil {
		err = errors.Join(err, release(b.lock))
		b.lock = nil
	}
	return err
}
