package transport

import (
	"cmp"
	"slices"
	"sync"

	"bela/agents/protocol"
)

// MaxKinds bounds how many kinds a Tally tells apart, since causes come from
// outside.
const MaxKinds = 100

// Tally counts how often each kind of trouble was seen. The zero value is ready;
// it is safe for concurrent use.
type Tally struct {
	mu sync.Mutex
	n  map[string]int64
}

// Add counts n more of a kind; beyond MaxKinds they are all "other".
func (t *Tally) Add(kind string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[string]int64)
	}
	if _, known := t.n[kind]; !known && len(t.n) >= MaxKinds-1 {
		kind = "other"
	}
	t.n[kind] += n
}

// List is the kinds, the most frequent first.
func (t *Tally) List() []protocol.Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]protocol.Count, 0, len(t.n))
	for kind, n := range t.n {
		list = append(list, protocol.Count{What: kind, N: n})
	}
	slices.SortFunc(list, func(x, y protocol.Count) int {
		return cmp.Or(cmp.Compare(y.N, x.N), cmp.Compare(x.What, y.What))
	})
	return list
}
