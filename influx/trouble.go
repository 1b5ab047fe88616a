package influx

import (
	"sync"
	"time"
)

// quiet is how long the same trouble is not said again after a recovery, so that
// a server that comes and goes does not fill the screen.
const quiet = 30 * time.Second

// queueTrouble is the key of "the queue is full", which ends when there is room
// again; any other trouble ends with the next success.
const queueTrouble = "queue"

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

// delivered is told of every success.
func (r *reporter) delivered() { r.end(func(key string) bool { return key != queueTrouble }) }

// roomAgain is told, any number of times, that the queue is not full.
func (r *reporter) roomAgain() { r.end(func(key string) bool { return key == queueTrouble }) }

// end takes the troubles that are over away; the listener is told when none that
// it knows of is left.
func (r *reporter) end(over func(key string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended, left := false, false
	for key, told := range r.now {
		if over(key) {
			delete(r.now, key)
			ended = ended || told
		} else {
			left = left || told
		}
	}
	if ended && !left {
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
