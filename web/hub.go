package web

import (
	"bytes"
	"encoding/json"
	"sync"
	"time"

	"bela/event"
	"bela/live"
)

const (
	frameInterval = 250 * time.Millisecond // a change shows within it
	maxNotes      = 400
	maxSeconds    = 600
)

// hub holds the run's state in pieces, each with the version in which it last
// changed, and makes frames of what changed since a version.
type hub struct {
	now     func() time.Time
	control bool // the page may offer its buttons
	stop    chan struct{}
	once    sync.Once

	mu      sync.Mutex // of what events write
	state   live.State
	notes   []note // not yet in a version
	seconds []second
	dirty   bool

	frames  sync.Mutex // of what browsers read; taken before mu
	clients int
	version uint64
	at      time.Time // of the version
	head    head
	pieces  map[string]*piece
	log     []versioned[note]
	load    []versioned[second]
	made    map[uint64][]byte // frames up to this version, by the version that they go on from
	changed chan struct{}     // closed at the next version
	over    bool
}

// piece is a part of the state in JSON; null once it is gone.
type piece struct {
	data    json.RawMessage
	version uint64
}

type versioned[T any] struct {
	of      T
	version uint64
}

// frame is what a browser gets.
type frame struct {
	Version uint64                     `json:"version"`
	Full    bool                       `json:"full,omitempty"` // all that there is, and not what changed
	Head    head                       `json:"head"`
	Set     map[string]json.RawMessage `json:"set,omitempty"`
	Notes   []note                     `json:"notes,omitempty"`
	Seconds []second                   `json:"seconds,omitempty"`
}

func newHub(now func() time.Time) *hub {
	return &hub{now: now, state: live.New(), stop: make(chan struct{}), pieces: map[string]*piece{}, changed: make(chan struct{})}
}

// handle takes an event.
func (h *hub) handle(e event.Event) {
	if e.Data == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.state.Handle(e) {
		if n.Lasting || n.Logged {
			h.notes = append(h.notes, newNote(e.Time, n))
		}
	}
	if l, ok := e.Data.(event.Load); ok {
		h.seconds = append(h.seconds, newSecond(l))
	}
	// Nobody may be watching for days.
	h.notes, h.seconds = last(h.notes, maxNotes), last(h.seconds, maxSeconds)
	h.dirty = true
}

// last is at least the newest n of a list, which it lets grow to twice that.
func last[T any](list []T, n int) []T {
	if len(list) < 2*n {
		return list
	}
	return append([]T(nil), list[len(list)-n:]...)
}

// run makes versions while somebody watches, until the end.
func (h *hub) run() {
	tick := time.NewTicker(frameInterval)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		h.frames.Lock()
		if h.clients > 0 && (h.pending() || h.now().Sub(h.at) >= time.Second) {
			h.update()
		}
		h.frames.Unlock()
	}
}

func (h *hub) pending() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dirty
}

// update makes a version of what is known now. h.frames is held.
func (h *hub) update() {
	h.mu.Lock()
	s := h.state.Clone()
	notes, seconds := h.notes, h.seconds
	h.notes, h.seconds, h.dirty = nil, nil, false
	h.mu.Unlock()

	h.version++
	h.at = h.now()
	if s.Finished == nil && h.at.After(s.Now) && !s.Start.IsZero() {
		s.Now = h.at
	}
	h.head = headOf(&s)
	for _, n := range notes {
		h.log = append(h.log, versioned[note]{n, h.version})
	}
	for _, p := range seconds {
		h.load = append(h.load, versioned[second]{p, h.version})
	}
	h.log, h.load = last(h.log, maxNotes), last(h.load, maxSeconds)
	there := make(map[string]bool, len(h.pieces))
	h.put(there, "run", runOf(&s, h.control))
	h.put(there, "cell", currentOf(&s))
	h.put(there, "load", loadOf(&s))
	h.put(there, "slowest", slowestOf(&s))
	for i := range s.Cells {
		h.put(there, cellKey(&s.Cells[i]), cellOf(i, &s.Cells[i]))
	}
	for i := range s.Nodes {
		h.put(there, "node "+s.Nodes[i].Name, nodeOf(i, &s.Nodes[i], &s))
	}
	for i := range s.Components {
		c := &s.Components[i]
		h.put(there, "component "+live.InstanceName(c.Name, c.Instance), componentOf(i, c, &s))
	}
	for key, p := range h.pieces {
		if !there[key] && p.data != nil {
			p.data, p.version = nil, h.version
		}
	}
	h.made = map[uint64][]byte{}
	close(h.changed)
	h.changed = make(chan struct{})
}

// put sets a piece, which keeps its version where nothing changed.
func (h *hub) put(there map[string]bool, key string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // a number that is none; the piece stays as it was
	}
	there[key] = true
	p := h.pieces[key]
	if p == nil {
		p = &piece{}
		h.pieces[key] = p
	}
	if !bytes.Equal(p.data, data) {
		p.data, p.version = data, h.version
	}
}

// since is a frame of what changed since a version, the version that it leads
// to, what is closed at the next one, and whether the run is over.
func (h *hub) since(version uint64) (text []byte, now uint64, changed <-chan struct{}, over bool) {
	h.frames.Lock()
	defer h.frames.Unlock()
	if version == 0 && !h.over && (h.version == 0 || h.now().Sub(h.at) >= frameInterval) {
		h.update() // nobody may have been watching for long
	}
	if version == h.version {
		return nil, h.version, h.changed, h.over
	}
	if text, ok := h.made[version]; ok {
		return text, h.version, h.changed, h.over
	}
	f := frame{Version: h.version, Full: version == 0, Head: h.head, Set: map[string]json.RawMessage{}}
	for key, p := range h.pieces {
		if p.version > version && (version > 0 || p.data != nil) {
			f.Set[key] = p.data
		}
	}
	for _, n := range h.log {
		if n.version > version {
			f.Notes = append(f.Notes, n.of)
		}
	}
	for _, p := range h.load {
		if p.version > version {
			f.Seconds = append(f.Seconds, p.of)
		}
	}
	text, err := json.Marshal(f)
	if err != nil {
		text = []byte("{}") // what cannot be encoded was refused piece by piece
	}
	h.made[version] = text
	return text, h.version, h.changed, h.over
}

// join counts a browser in; false where there are as many as may be.
func (h *hub) join(most int) bool {
	h.frames.Lock()
	defer h.frames.Unlock()
	if h.clients >= most {
		return false
	}
	h.clients++
	return true
}

func (h *hub) leave() {
	h.frames.Lock()
	defer h.frames.Unlock()
	h.clients--
}

// end makes the last version.
func (h *hub) end() {
	h.once.Do(func() {
		close(h.stop)
		h.frames.Lock()
		defer h.frames.Unlock()
		h.over = true
		h.update()
	})
}
