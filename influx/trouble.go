package influx

import (
	"sync"
	"time"
)

// quiet is how long the same trouble is not said again after a recovery, so that
// a server that comes and goes does not fill the screen.
const quiet = 30 * time.Second

// reporter says trouble once when it begins and once when it ends.
type reporter struct {
	tell func(error)

	mu sync.Mutex // held while telling: one call at a time
	// now holds the troubles there are; true for those the listener was told of.
	now  map[string]bool
	when map[string]time.Time // when the listener was told last

	lastMu  sync.Mutex
	lastErr error
}

func newReporter(tell func(error)) *reporter {
	if tell == nil {
		tell = func(error) {}
	}
	return &reporter{tell: tell, now: make(map[string]bool), when: make(map[string]time.Time)}
}

// report is told of every failed attempt. The key is the kind of trouble: two
// messages of one kind may differ in a port number.
func (r *reporter) report(key string, err error) {
	r.setLast(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.now[key]; known {
		return
	}
	at, before := r.when[key]
	r.now[key] = !before || time.Since(at) >= quiet
	if r.now[key] {
		r.when[key] = time.Now()
		r.tell(err)
	}
}

// delivered is told of every success, which ends all trouble; the listener is
// told where it knows of some.
func (r *reporter) delivered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := false
	for _, told := range r.now {
		ended = ended || told
	}
	clear(r.now)
	if ended {
		r.tell(nil)
	}
}

func (r *reporter) setLast(err error) {
	r.lastMu.Lock()
	defer r.lastMu.Unlock()
	r.lastErr = err
}

// last is the last error reported, told or not.
func (r *reporter) last() error {
	r.lastMu.Lock()
	defer r.lastMu.Unlock()
	return r.lastErr
}
