package tui

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// screen is as much of a terminal as the dashboard uses. It keeps what scrolls
// out at the top, and it reports every sequence that it does not know, so that
// what it shows can be trusted.
type screen struct {
	width, height int
	rows          [][]rune
	scrolled      []string
	x, y          int
	phantom       bool // the cursor hangs behind the last column
	modes         map[string]bool
	unknown       []string
	pending       string // an unfinished sequence
	last          rune
}

func newScreen(width, height int) *screen {
	s := &screen{modes: map[string]bool{}}
	s.resize(width, height)
	return s
}

// resize cuts or grows the screen as a terminal without reflow does: lines that
// have no room any more scroll out at the top.
func (s *screen) resize(width, height int) {
	for len(s.rows) > height {
		if s.y < len(s.rows)-1 && strings.TrimSpace(string(s.rows[len(s.rows)-1])) == "" {
			s.rows = s.rows[:len(s.rows)-1]
			continue
		}
		s.scrolled = append(s.scrolled, strings.TrimRight(string(s.rows[0]), " "))
		s.rows = s.rows[1:]
		s.y--
	}
	for len(s.rows) < height {
		s.rows = append(s.rows, nil)
	}
	s.width, s.height = width, height
	for i := range s.rows {
		s.rows[i] = fit(s.rows[i], width)
	}
	s.x, s.y, s.phantom = min(s.x, width-1), max(s.y, 0), false
}

func fit(row []rune, width int) []rune {
	for len(row) < width {
		row = append(row, ' ')
	}
	return row[:width]
}

// text is the scrollback and the screen, without blank lines at the end.
func (s *screen) text() string {
	var b strings.Builder
	for _, l := range s.scrolled {
		b.WriteString(l + "\n")
	}
	for _, r := range s.rows {
		b.WriteString(strings.TrimRight(string(r), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func (s *screen) write(p []byte) {
	in := s.pending + string(p)
	s.pending = ""
	for len(in) > 0 {
		n, whole := s.step(in)
		if !whole {
			s.pending = in
			return
		}
		in = in[n:]
	}
}

// step takes one character or sequence from in; whole is false where it is
// not all there yet.
func (s *screen) step(in string) (n int, whole bool) {
	if in[0] != '\x1b' {
		if !utf8.FullRuneInString(in) {
			return 0, false
		}
		r, n := utf8.DecodeRuneInString(in)
		s.char(r)
		return n, true
	}
	if len(in) < 2 {
		return 0, false
	}
	if in[1] != '[' {
		s.unknown = append(s.unknown, fmt.Sprintf("%q", in[:2]))
		return 2, true
	}
	for i := 2; i < len(in); i++ {
		if in[i] >= 0x40 && in[i] <= 0x7e {
			s.csi(in[2:i], in[i])
			return i + 1, true
		}
	}
	return 0, false
}

func (s *screen) char(r rune) {
	switch r {
	case '\r':
		s.x, s.phantom = 0, false
	case '\n':
		s.feed()
	case '\t':
		s.x, s.phantom = min((s.x/8+1)*8, s.width-1), false
	case '\b':
		s.x, s.phantom = max(s.x-1, 0), false
	default:
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			s.unknown = append(s.unknown, fmt.Sprintf("%q", r))
			return
		}
		if s.phantom {
			s.x, s.phantom = 0, false
			s.feed()
		}
		s.rows[s.y][s.x], s.last = r, r
		if s.x++; s.x == s.width {
			s.x, s.phantom = s.width-1, true
		}
	}
}

func (s *screen) feed() {
	if s.y < s.height-1 {
		s.y++
		return
	}
	s.scrolled = append(s.scrolled, strings.TrimRight(string(s.rows[0]), " "))
	s.rows = append(s.rows[1:], fit(nil, s.width))
}

func (s *screen) csi(params string, final byte) {
	if strings.HasPrefix(params, "?") && (final == 'h' || final == 'l') {
		s.modes[params[1:]] = final == 'h'
		return
	}
	n := 1
	if v, err := strconv.Atoi(params); err == nil {
		n = v
	}
	switch final {
	case 'A':
		s.y = max(s.y-n, 0)
	case 'B':
		s.y = min(s.y+n, s.height-1)
	case 'C':
		s.x = min(s.x+n, s.width-1)
	case 'D':
		s.x = max(s.x-n, 0)
	case 'G', '`':
		s.x = min(n, s.width) - 1
	case 'J':
		s.blank(s.y, s.x, s.width)
		for y := s.y + 1; y < s.height; y++ {
			s.blank(y, 0, s.width)
		}
	case 'K':
		from, to := s.x, s.width
		switch params {
		case "1":
			from, to = 0, s.x+1
		case "2":
			from = 0
		}
		s.blank(s.y, from, to)
	case 'P':
		row := s.rows[s.y]
		copy(row[s.x:], row[min(s.x+n, s.width):])
		s.blank(s.y, max(s.width-n, s.x), s.width)
	case '@':
		row := s.rows[s.y]
		copy(row[min(s.x+n, s.width):], row[s.x:])
		s.blank(s.y, s.x, min(s.x+n, s.width))
	case 'Z':
		for range n {
			s.x = max((s.x-1)/8*8, 0)
		}
	case 'W': // tab stops every eight columns, as they are
	case 'L':
		for range n {
			copy(s.rows[s.y+1:], s.rows[s.y:s.height-1])
			s.rows[s.y] = fit(nil, s.width)
		}
		s.x = 0
	case 'X':
		s.blank(s.y, s.x, min(s.x+n, s.width))
	case 'b':
		for range n {
			s.char(s.last)
		}
		return
	case 'm', 'p', 'u', 'n', 'c': // colours, and questions to the terminal
		return
	default:
		s.unknown = append(s.unknown, "CSI "+params+string(final))
	}
	s.phantom = false
}

func (s *screen) blank(y, from, to int) {
	for x := from; x < to; x++ {
		s.rows[y][x] = ' '
	}
}
