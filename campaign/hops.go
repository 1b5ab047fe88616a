package campaign

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
)

// instanceKey names a component's instance in a cell.
type instanceKey struct {
	component string
	instance  int
}

// keepsBooks tells whether the instances of a kind know single messages. Those of
// nats need not: the gateways and stan around them do.
func keepsBooks(k experiment.Kind) bool {
	return k == experiment.KindBroker || k == experiment.KindGateway || k == experiment.KindStan || k == experiment.KindHub
}

// collectHops fetches the hops' books. It comes before the load's: what is still
// on its way is then charged to where it stood when draining ended. It takes no
// more than a third of the phase, and a book that does not come costs the cell
// only the knowledge of who lost what, so there is no error but a message.
func (c *cellRun) collectHops(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.cell.Phases.Collect/3)
	defer cancel()
	books := make(map[instanceKey][]measure.HopBook)
	err := nodes.Each(ctx, c.bookkeepers(), fanOut, func(ctx context.Context, copies []placed) error {
		var all []error
		for _, p := range copies {
			var answer protocol.ComponentBooks
			of := protocol.ComponentName{Name: p.spec.Name, Instance: p.spec.Instance}
			if err := c.testbed.find(p.node).askLarge(ctx, c.cell.Phases.Collect/3+time.Second, protocol.MaxFrame, protocol.TypeComponentBooks, of, &answer); err != nil {
				all = append(all, err)
				continue
			}
			if err := extentOf(c.cell).hopBooks(answer.Books, c.cell.Customers.Count); err != nil {
				all = append(all, c.testbed.find(p.node).refuse(err))
				continue
			}
			c.mu.Lock()
			books[instanceKey{p.spec.Name, p.spec.Instance}] = answer.Books
			c.mu.Unlock()
			if !unreadable(answer.Books) {
				return nil
			}
		}
		return errors.Join(all...)
	})
	c.hops = books
	if err != nil {
		c.emit(event.Message{Level: "warn", Position: c.cell.Position, Text: "losses may stay without a hop: " + eachOnce(err)})
	}
}

// eachOnce are an error's lines, each of them once: a node with five components that
// is lost is lost five times.
func eachOnce(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// bookkeepers are the instances that live and keep books, those together of which
// one is enough: every instance of stan has all messages, and reading them takes
// its time.
func (c *cellRun) bookkeepers() [][]placed {
	var all [][]placed
	for _, p := range c.wiring.components() {
		// What a fault ended for good is not there to be asked.
		if p.spec.Books == nil || c.deadByFault(instanceKey{p.spec.Name, p.spec.Instance}) {
			continue
		}
		if n := len(all) - 1; n >= 0 && keepsCopies(p) && all[n][0].spec.Name == p.spec.Name {
			if c.killed[instanceKey{p.spec.Name, all[n][0].spec.Instance}] {
				all[n] = slices.Insert(all[n], 0, p) // what was killed is asked last
			} else {
				all[n] = append(all[n], p)
			}
			continue
		}
		all = append(all, []placed{p})
	}
	return all
}

// keepsCopies tells whether a component's instances keep the same messages.
func keepsCopies(p placed) bool {
	return p.spec.Kind == strings.TrimPrefix(string(experiment.KindStan), "platform.")
}

// unreadable tells whether books are there that lack messages.
func unreadable(books []measure.HopBook) bool {
	return slices.ContainsFunc(books, func(b measure.HopBook) bool { return b.Incomplete != "" })
}

// chain is the way of a message through the cell's components: what brings it
// from a device to a broker, through gateways and hubs where there are any, and
// from a broker to a customer. Components that keep no books are hops of which
// nothing is known, where their place can be told.
func (c *cellRun) chain() measure.Chain {
	via, from := c.cell.Devices.Via, c.cell.Customers.Via
	gateways, hubs := c.named(experiment.KindGateway), c.named(experiment.KindHub)
	sameTopic := topicRoot(c.cell.Devices.Topic) == topicRoot(c.cell.Customers.Topic)

	chain := measure.Chain{First: "device→" + via}
	if via == from && sameTopic {
		chain.Hops = []measure.Hop{c.hop(via, measure.SideIn, via+"→customer", c.serves(via, true))}
		return chain
	}
	gateway, hub := strings.Join(gateways, "/"), strings.Join(hubs, "/")
	nats, stan := strings.Join(c.named(experiment.KindNATS), "/"), c.named(experiment.KindStan)
	foreign := ""
	if gateway == "" || hub == "" {
		foreign = c.foreign(via, from) // it does what the missing one would
	}
	way := func(stops ...string) string { return stops[0] + "→" + cmp.Or(append(stops[1:], from)...) }
	chain.Hops = append(chain.Hops, c.hop(via, measure.SideIn, way(via, gateway, foreign, hub), nil))
	if gateway != "" {
		// What a gateway handed on stan has acknowledged.
		chain.Hops = append(chain.Hops, c.relay(gateways, cmp.Or(strings.Join(stan, "/"), nats, way(gateway, foreign, hub))))
		if hub != "" && len(stan) > 0 {
			// What stan handed on passes nats once more.
			chain.Hops = append(chain.Hops, c.relay(stan, cmp.Or(nats, way(strings.Join(stan, "/"), hub))))
		}
	}
	if foreign != "" {
		chain.Hops = append(chain.Hops, measure.Hop{Component: foreign})
	}
	if hub != "" {
		chain.Hops = append(chain.Hops, c.relay(hubs, way(hub)))
	}
	side := measure.SideOut
	if sameTopic {
		side = measure.SideIn // another broker, to which the messages come under their own topic
	}
	chain.Hops = append(chain.Hops, c.hop(from, side, from+"→customer", c.serves(from, false)))
	return chain
}

// named are the names of the components of a kind.
func (c *cellRun) named(k experiment.Kind) []string {
	var names []string
	for _, comp := range c.cell.Components {
		if comp.Kind == k {
			names = append(names, comp.Name)
		}
	}
	return names
}

// foreign are the user's processes besides the brokers.
func (c *cellRun) foreign(brokers ...string) string {
	return strings.Join(slices.DeleteFunc(c.named(experiment.KindProcess), func(name string) bool {
		return slices.Contains(brokers, name)
	}), "/")
}

// hop is one side of a broker.
func (c *cellRun) hop(component, side, way string, serves func(int) (int, string)) measure.Hop {
	return measure.Hop{
		Component: component, Name: way, Next: way, Direct: true, Serves: serves,
		Books: c.hopBooks(side, component),
	}
}

// relay is all gateways, or all hubs: a message passes any one of them, and each
// component answers for itself.
func (c *cellRun) relay(components []string, next string) measure.Hop {
	name := strings.Join(components, "/")
	return measure.Hop{Component: name, Name: name, Next: next, Books: c.hopBooks("", components...)}
}

// hopBooks are the books of all instances, nil for those that are missing. Of a
// component whose instances keep copies it is one that lacks nothing, if any.
func (c *cellRun) hopBooks(side string, components ...string) []*measure.HopBook {
	var all []*measure.HopBook
	first := 0 // of the component's in all
	last := ""
	for _, p := range c.wiring.components() {
		if !slices.Contains(components, p.spec.Name) {
			continue
		}
		if p.spec.Name != last {
			first, last = len(all), p.spec.Name
		}
		book := c.hopBook(p, side)
		if book != nil && len(components) > 1 {
			book.Component = p.spec.Name
		}
		whole := book != nil && book.Incomplete == ""
		switch {
		case keepsCopies(p) && whole:
			all = append(all[:first], book)
		case keepsCopies(p) && len(all) > first && all[first] != nil && all[first].Incomplete == "":
			// A copy of it is there.
		default:
			all = append(all, book)
		}
	}
	return all
}

// hopBook is one instance's.
func (c *cellRun) hopBook(p placed, side string) *measure.HopBook {
	key := instanceKey{p.spec.Name, p.spec.Instance}
	var book *measure.HopBook
	books := c.hops[key]
	if i := slices.IndexFunc(books, func(b measure.HopBook) bool { return b.Side == side }); i >= 0 {
		book = &books[i]
	}
	if c.killed[key] {
		if book == nil {
			book = new(measure.HopBook)
		}
		book.Incomplete = measure.KilledByFault
	}
	return book
}

// serves says which instance of a broker has a customer, and as which client.
// Where devices publish to the same instances, any of them counts: a message
// that another instance took has come as far as a broker.
func (c *cellRun) serves(broker string, shared bool) func(int) (int, string) {
	instances := len(c.wiring.addresses(broker))
	return func(customer int) (int, string) {
		client := protocol.CustomerClient(customer, c.wiring.run, c.wiring.attempt)
		if shared || instances == 0 {
			return -1, client
		}
		return customer % instances, client
	}
}
