package campaign

import (
	"sync"
	"time"

	"bela/event"
)

// Sink takes events. Handle must not block: what cannot keep up has to buffer
// or conflate for itself.
type Sink interface{ Handle(event.Event) }

// Journal is where events are kept before any sink sees them.
type Journal interface{ Event(event.Event) error }

// stream numbers events, journals them and hands them to the sinks, in one
// order for all.
type stream struct {
	now     func() time.Time
	journal Journal
	sinks   []Sink
	// failed is called once, with the first error of the journal: a run whose
	// truth cannot be written must stop.
	failed func(error)

	mu   sync.Mutex
	seq  uint64
	dead bool
}

func (s *stream) emit(d event.Data) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e := event.Event{Seq: s.seq, Time: s.now(), Data: d}
	if err := s.journal.Event(e); err != nil && !s.dead {
		s.dead = true
		s.failed(err)
	}
	for _, sink := range s.sinks {
		sink.Handle(e)
	}
}
