package web

import (
	"sync"
	"time"

	"bela/event"
)

// What the tests of the page in a browser need of this package's.

const TestToken = token

type Stepper struct{ stepper }

func (s *Stepper) List() string { return s.list() }

// Teller tells events on a clock of its own, which is the page's as well.
type Teller struct {
	teller
	mu    sync.Mutex
	clock time.Time
}

func NewTeller() *Teller { return &Teller{clock: time.Date(2020, 11, 14, 10, 0, 0, 0, time.UTC)} }

func (e *Teller) To(s *Server)            { e.s = s }
func (e *Teller) Begin()                  { e.now = e.Now(); e.begin() }
func (e *Teller) Second(t int)            { e.now = e.Now(); e.second(t) }
func (e *Teller) Tell(data ...event.Data) { e.now = e.Now(); e.tell(data...) }

func (e *Teller) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock
}

func (e *Teller) Pass(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock = e.clock.Add(d)
}
