package meter

import (
	"net/netip"
	"slices"

	"bela/agents/meter/sockdiag"
)

// Owner is an instance whose sockets are counted.
type Owner struct {
	// Key tells it from the others, and from an earlier one of its name.
	Key string
	// Inodes lists the sockets that its processes hold. It is asked only where a
	// socket turns up that nobody is known to have.
	Inodes func() []uint32
	// Group is its version 2 control group; 0 where there is none.
	Group uint64
	// InPorts and OutPorts bound which connections count, see
	// protocol.MeterSpec; empty is all.
	InPorts, OutPorts []int
}

// Bytes are what an owner's sockets received and sent since they were opened.
type Bytes struct{ In, Out int64 }

// Sockets adds up what the sockets of instances carried, as the kernel counts it:
// bytes of the TCP streams. It is for one goroutine at a time.
//
// A socket is an owner's by its control group, else by being in a file of one of
// its processes, else by having been accepted at a port where the owner listens.
// One that closes keeps what it had at the end. What is not seen is a connection
// that an owner opened and closed between two looks, where it has no version 2
// group.
type Sockets struct {
	conn   *sockdiag.Conn
	closed *sockdiag.Closed // nil where the kernel does not tell
	look   int
	seen   map[uint64]*seen // by cookie
	sums   map[string]*Bytes
	listen map[netip.AddrPort]string // who listens there, of the owners
	buffer []sockdiag.Socket
}

// seen is a socket as it was last seen.
type seen struct {
	owner    string // empty: somebody else's
	in, out  bool   // whether it counts
	have     Bytes
	lastLook int
}

// A socket that is in no dump any more is forgotten after so many looks: word of
// its end may come later than its absence shows.
const forgetAfter = 5

// OpenSockets begins to count. watched is false where the kernel does not tell of
// sockets that close: then what one carried since the last look is lost.
func OpenSockets() (s *Sockets, watched bool, err error) {
	conn, err := sockdiag.Open()
	if err != nil {
		return nil, false, err
	}
	s = &Sockets{conn: conn, seen: make(map[uint64]*seen), sums: make(map[string]*Bytes)}
	if s.closed, err = sockdiag.WatchClosed(); err != nil {
		return s, false, nil
	}
	return s, true, nil
}

// Close ends it.
func (s *Sockets) Close() {
	_ = s.conn.Close()
	if s.closed != nil {
		_ = s.closed.Close()
	}
}

// Look reads all sockets and returns what those of each owner carried so far, by
// key. missed says that more sockets closed than could be told of.
func (s *Sockets) Look(owners []Owner) (sums map[string]Bytes, missed bool, err error) {
	s.look++
	if s.buffer, err = s.conn.Sockets(s.buffer[:0]); err != nil {
		return nil, false, err
	}
	s.forget(owners)
	unknown := s.known(s.buffer)
	if len(unknown) > 0 {
		s.assign(unknown, owners)
	}
	if s.closed != nil {
		var ended []sockdiag.Socket
		ended, missed = s.closed.Take()
		s.settle(ended, owners)
	}
	s.expire()
	sums = make(map[string]Bytes, len(owners))
	for _, o := range owners {
		sums[o.Key] = s.ended(o.Key)
	}
	for _, k := range s.seen {
		if k.owner != "" {
			sum := sums[k.owner]
			sums[k.owner] = Bytes{In: sum.In + k.have.In, Out: sum.Out + k.have.Out}
		}
	}
	return sums, missed, nil
}

// ended is what an owner's closed sockets had.
func (s *Sockets) ended(key string) Bytes {
	if sum := s.sums[key]; sum != nil {
		return *sum
	}
	return Bytes{}
}

// forget drops what belongs to owners that are gone.
func (s *Sockets) forget(owners []Owner) {
	gone := func(key string) bool {
		return key != "" && !slices.ContainsFunc(owners, func(o Owner) bool { return o.Key == key })
	}
	for key := range s.sums {
		if gone(key) {
			delete(s.sums, key)
		}
	}
	for cookie, k := range s.seen {
		if gone(k.owner) {
			delete(s.seen, cookie)
		}
	}
}

// known brings the sockets up to date that were assigned before, and returns the
// others.
func (s *Sockets) known(all []sockdiag.Socket) []*sockdiag.Socket {
	var unknown []*sockdiag.Socket
	for i := range all {
		if k := s.seen[all[i].Cookie]; k != nil {
			k.update(&all[i], s.look)
		} else {
			unknown = append(unknown, &all[i])
		}
	}
	return unknown
}

func (k *seen) update(socket *sockdiag.Socket, look int) {
	k.lastLook = look
	if k.in {
		k.have.In = max(k.have.In, int64(socket.Received))
	}
	if k.out {
		k.have.Out = max(k.have.Out, int64(socket.Sent))
	}
}

// assign finds out whose sockets these are.
func (s *Sockets) assign(unknown []*sockdiag.Socket, owners []Owner) {
	held := make(map[uint32]int)
	for i, o := range owners {
		for _, inode := range o.Inodes() {
			held[inode] = i
		}
	}
	whose := func(socket *sockdiag.Socket) (Owner, bool) {
		for _, o := range owners {
			if o.Group != 0 && o.Group == socket.Group {
				return o, true
			}
		}
		if i, ok := held[socket.Inode]; ok && socket.Inode != 0 {
			return owners[i], true
		}
		return Owner{}, false
	}
	// Where owners listen is learned first: it tells accepted connections from
	// others.
	s.listen = make(map[netip.AddrPort]string)
	for i := range s.buffer {
		socket := &s.buffer[i]
		if !socket.Listening {
			continue
		}
		if k := s.seen[socket.Cookie]; k != nil && k.owner != "" {
			s.listen[socket.Local] = k.owner
		} else if o, ok := whose(socket); ok {
			s.listen[socket.Local] = o.Key
		}
	}
	for _, socket := range unknown {
		o, ok := whose(socket)
		if !ok {
			o, ok = s.acceptor(socket, owners)
		}
		switch {
		case ok:
			s.enter(socket, o)
		case socket.Inode != 0: // else nobody has it yet
			s.seen[socket.Cookie] = &seen{lastLook: s.look}
		}
	}
}

// acceptor is the owner that listens where a connection came in.
func (s *Sockets) acceptor(socket *sockdiag.Socket, owners []Owner) (Owner, bool) {
	key := s.listener(socket)
	i := slices.IndexFunc(owners, func(o Owner) bool { return o.Key == key && key != "" })
	if i < 0 {
		return Owner{}, false
	}
	return owners[i], true
}

// listener is the key of the owner that listens at a socket's own end; empty
// where none does.
func (s *Sockets) listener(socket *sockdiag.Socket) string {
	at := socket.Local
	if key, ok := s.listen[at]; ok {
		return key
	}
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if key, ok := s.listen[netip.AddrPortFrom(any, at.Port())]; ok {
			return key
		}
	}
	return ""
}

// enter begins to count a socket.
func (s *Sockets) enter(socket *sockdiag.Socket, o Owner) *seen {
	port := socket.Remote.Port()
	if s.listener(socket) == o.Key {
		port = socket.Local.Port()
	}
	counts := func(ports []int) bool { return len(ports) == 0 || slices.Contains(ports, int(port)) }
	k := &seen{owner: o.Key, in: counts(o.InPorts) && !socket.Listening, out: counts(o.OutPorts) && !socket.Listening}
	s.seen[socket.Cookie] = k
	k.update(socket, s.look)
	return k
}

// settle takes the last counts of sockets that closed.
func (s *Sockets) settle(ended []sockdiag.Socket, owners []Owner) {
	for i := range ended {
		socket := &ended[i]
		k := s.seen[socket.Cookie]
		if k == nil {
			// It came and went between two looks: only its port can tell.
			o, ok := s.acceptor(socket, owners)
			if !ok {
				continue
			}
			k = s.enter(socket, o)
		}
		if k.owner == "" {
			delete(s.seen, socket.Cookie)
			continue
		}
		k.update(socket, s.look)
		s.close(socket.Cookie, k)
	}
}

// close moves what a socket had to its owner's sum.
func (s *Sockets) close(cookie uint64, k *seen) {
	sum := s.sums[k.owner]
	if sum == nil {
		sum = new(Bytes)
		s.sums[k.owner] = sum
	}
	sum.In += k.have.In
	sum.Out += k.have.Out
	delete(s.seen, cookie)
}

// expire gives up sockets that were not seen for a while.
func (s *Sockets) expire() {
	for cookie, k := range s.seen {
		if s.look-k.lastLook < forgetAfter {
			continue
		}
		if k.owner == "" {
			delete(s.seen, cookie)
			continue
		}
		s.close(cookie, k)
	}
}
