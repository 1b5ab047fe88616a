package tui

import (
	"slices"
	"strings"

	"bela/live"
)

// pane is a part of the dashboard that can be given all the room.
type pane int

const (
	paneAll pane = iota
	paneMatrix
	paneLoad
	paneNodes
	paneComponents
	paneLog
	panes
)

// viewport is what the operator chose to see. With the state and the size it
// determines the picture.
type viewport struct {
	Focus  pane
	Offset int // lines scrolled down in the focused pane
	Paused bool
	Held   []live.Note // the log as it stood when it was paused
	New    int         // lines since then
	Stops  int         // how often the run was asked to stop
	Filter string      // words that lines of the log must hold
	Typing bool        // the filter is being typed
	Ask    question
	Answer string // what came of the last question, until the next key
	Steps  bool   // cells can be skipped
	Tall   int    // lines that the picture has at least, where they fit
}

// pause holds the log as it stands, or lets it go on.
func (v *viewport) pause(log []live.Note) {
	v.Paused = !v.Paused
	v.Held, v.New = nil, 0
	if v.Paused {
		v.Held = slices.Clone(log)
	}
}

// follow counts what came since the log was paused.
func (v *viewport) follow(log []live.Note) {
	if !v.Paused {
		return
	}
	v.New = 0
	var last live.Note
	if len(v.Held) > 0 {
		last = v.Held[len(v.Held)-1]
	}
	for i := len(log) - 1; i >= 0 && log[i] != last; i-- {
		v.New++
	}
}

// log returns the lines that the log pane shows: those that hold every word of
// the filter.
func (v *viewport) log(now []live.Note) []live.Note {
	if v.Paused {
		now = v.Held
	}
	words := strings.Fields(strings.ToLower(v.Filter))
	if len(words) == 0 {
		return now
	}
	var out []live.Note
	for _, n := range now {
		text := strings.ToLower(n.Text)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			out = append(out, n)
		}
	}
	return out
}

// turn gives the room to the next pane, or the one before.
func (v *viewport) turn(by pane) {
	v.Focus, v.Offset = (v.Focus+by+panes)%panes, 0
}

func (v *viewport) scroll(by int) { v.Offset = max(v.Offset+by, 0) }

// window returns the part of n lines that is seen through rows lines, scrolled
// as far as the offset and the number of lines allow.
func window(n, rows, offset int) (from, to int) {
	from = min(max(offset, 0), max(n-rows, 0))
	return from, min(from+rows, n)
}
