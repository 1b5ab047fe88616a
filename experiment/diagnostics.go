package experiment

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/rivo/uniseg"
)

// Severity says whether a diagnostic stops the run.
type Severity string

// The severities of diagnostics.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one mistake in an experiment file, a variables file or a
// variable given on the command line.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	// File is the file's path as given, or "-var NAME", "-only", "-inventory".
	File string `json:"file"`
	// Line and Column count from 1; both are 0 where the mistake is the file
	// as a whole. Columns count characters, not bytes.
	Line      int `json:"line,omitempty"`
	Column    int `json:"column,omitempty"`
	EndLine   int `json:"end_line,omitempty"`
	EndColumn int `json:"end_column,omitempty"`
	// Source is the line at fault, with secrets masked.
	Source string `json:"source,omitempty"`
	// Message says what is wrong, in one line.
	Message string `json:"message"`
	// Help says what is legal, what was probably meant, what to do next.
	Help []string `json:"help,omitempty"`
	// Cell names the first cell of the matrix in which the mistake shows, for
	// mistakes that depend on it.
	Cell string `json:"cell,omitempty"`

	before, marked string // of Source: what precedes the mark, what is marked
	from, to       int    // bytes in the file
}

// Position is "file:line:column", or only the file where there is no line.
func (d Diagnostic) Position() string {
	if d.Line == 0 {
		return d.File
	}
	return fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)
}

// Diagnostics are all mistakes found in one pass, in the order of the file.
type Diagnostics []Diagnostic

// HasErrors says whether one of them is an error.
func (ds Diagnostics) HasErrors() bool { return ds.count(Error) > 0 }

func (ds Diagnostics) count(s Severity) int {
	n := 0
	for _, d := range ds {
		if d.Severity == s {
			n++
		}
	}
	return n
}

// Error is a one-line summary: the first error, and how many more there are.
func (ds Diagnostics) Error() string {
	for _, d := range ds {
		if d.Severity != Error {
			continue
		}
		text := d.Position() + ": " + d.Message
		if len(d.Help) > 0 {
			text += "; " + d.Help[0]
		}
		if more := ds.count(Error) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		return text
	}
	return "no errors"
}

// maxShown bounds how many diagnostics Format prints; a file that is wrong in
// a thousand places is one mistake made a thousand times.
const maxShown = 50

// Format prints the diagnostics for a person, each with its source line, and
// wraps at width columns (80 where width is below 20).
func (ds Diagnostics) Format(w io.Writer, width int, color bool) error {
	if width < 20 {
		width = 80
	}
	p := painter(color)
	var out bytes.Buffer
	for i, d := range ds {
		if i == maxShown {
			fmt.Fprintf(&out, "… and %d more\n", len(ds)-maxShown)
			break
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		d.format(&out, width, p)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func (d Diagnostic) format(out *bytes.Buffer, width int, p painter) {
	style := styleError
	if d.Severity == Warning {
		style = styleWarning
	}
	head := p.paint(styleBold, d.Position()+":") + " " + p.paint(style, string(d.Severity)+":") + " "
	plain := d.Position() + ": " + string(d.Severity) + ": "
	lines := wrap(d.Message, width, uniseg.StringWidth(plain), 4)
	out.WriteString(head + strings.Join(lines, "\n    ") + "\n")
	d.formatSource(out, width, style, p)
	if d.Cell != "" {
		out.WriteString("    " + strings.Join(wrap("first in "+d.Cell, width, 4, 4), "\n    ") + "\n")
	}
	for _, help := range d.Help {
		out.WriteString("    " + strings.Join(wrap(help, width, 4, 4), "\n    ") + "\n")
	}
}

// formatSource prints the source line with carets under the part at fault.
func (d Diagnostic) formatSource(out *bytes.Buffer, width int, style string, p painter) {
	if d.Source == "" {
		return
	}
	gutter := fmt.Sprintf("%5d | ", d.Line)
	before, marked := printable(d.before), printable(d.marked)
	line := printable(d.Source)
	room := max(width-uniseg.StringWidth(gutter), 12)
	offset := uniseg.StringWidth(before)
	if uniseg.StringWidth(line) > room {
		line, offset = window(line, offset, room)
	}
	carets := max(min(uniseg.StringWidth(marked), room-offset), 1)
	out.WriteString(gutter + line + "\n")
	out.WriteString(strings.Repeat(" ", 5) + " | " + strings.Repeat(" ", offset) +
		p.paint(style, strings.Repeat("^", carets)) + "\n")
}

// window cuts a long line to room columns around offset, and returns the
// offset within the part that is left.
func window(line string, offset, room int) (string, int) {
	start := 0
	if offset > room/2 {
		start = offset - room/3
	}
	var kept strings.Builder
	column, width := 0, 0
	if start > 0 {
		kept.WriteString("…")
		width = 1
	}
	g := uniseg.NewGraphemes(line)
	first := -1
	for g.Next() {
		if column >= start {
			if first < 0 {
				first = column - width
			}
			if width+g.Width() > room-1 {
				kept.WriteString("…")
				break
			}
			kept.WriteString(g.Str())
			width += g.Width()
		}
		column += g.Width()
	}
	return kept.String(), max(offset-max(first, 0), 0)
}

// printable makes foreign text safe for a terminal: tabs become a blank, other
// control characters a question mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar, unicode.Is(unicode.Bidi_Control, r):
			return '?'
		}
		return r
	}, s)
}

// wrap breaks text at blanks: the first line has used columns taken already,
// the others are indented.
func wrap(text string, width, used, indent int) []string {
	var lines []string
	line, column := "", used
	for _, word := range strings.Fields(printable(text)) {
		size := uniseg.StringWidth(word)
		if line != "" && column+1+size > width {
			lines = append(lines, line)
			line, column = "", indent
		}
		if line != "" {
			line += " "
			column++
		}
		line += word
		column += size
	}
	return append(lines, line)
}

// painter puts ANSI colours around text, or does not.
type painter bool

const (
	styleBold    = "1"
	styleError   = "1;31"
	styleWarning = "1;33"
)

func (p painter) paint(style, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// mistakes gathers diagnostics while a file is read.
type mistakes struct {
	sources map[string][]byte
	secrets []hcl.Range // literals that must not be shown
	list    Diagnostics
	seen    map[string]bool
	// cell describes the cell that is being resolved, where one is.
	cell string
	// noMatrix says that the matrix stands under a name that was reported: its
	// dimensions are not known, and not missing.
	noMatrix bool
}

func newMistakes() *mistakes {
	return &mistakes{sources: map[string][]byte{}, seen: map[string]bool{}}
}

// maxMistakes bounds what is gathered, so that a hostile file cannot fill the
// memory with complaints about itself.
const maxMistakes = 1000

// values are the parts of a message that are values.
var values = regexp.MustCompile(`"[^"]*"|[-+]?[0-9][0-9.,e+-]*`)

// add records a mistake at a place in a file. The same mistake at the same
// place counts once, however many cells it shows in.
func (m *mistakes) add(severity Severity, rng hcl.Range, message string, help ...string) {
	if len(m.list) >= maxMistakes && severity == Warning {
		return
	}
	text := message
	if m.cell != "" {
		// The values in the message may differ from cell to cell.
		text = values.ReplaceAllString(message, "")
	}
	key := fmt.Sprintf("%s %d %d %s", rng.Filename, rng.Start.Byte, rng.End.Byte, text)
	if m.seen[key] || len(m.list) >= maxMistakes {
		return
	}
	m.seen[key] = true
	m.list = append(m.list, Diagnostic{
		Severity: severity, File: rng.Filename,
		Line: rng.Start.Line, Column: rng.Start.Column,
		EndLine: rng.End.Line, EndColumn: rng.End.Column,
		Message: message, Help: nonEmpty(help), Cell: m.cell,
		// The source is cut out at the end, when all secrets are known.
		from: rng.Start.Byte, to: rng.End.Byte,
	})
}

func (m *mistakes) error(rng hcl.Range, message string, help ...string) {
	m.add(Error, rng, message, help...)
}

func (m *mistakes) warn(rng hcl.Range, message string, help ...string) {
	m.add(Warning, rng, message, help...)
}

// addHCL takes over what the HCL library found.
func (m *mistakes) addHCL(diags hcl.Diagnostics) {
	for _, d := range diags {
		rng := hcl.Range{}
		switch {
		case d.Subject != nil:
			rng = *d.Subject
		case d.Context != nil:
			rng = *d.Context
		}
		message := lowerFirst(strings.TrimSuffix(d.Summary, "."))
		if detail := strings.TrimSuffix(strings.TrimSpace(d.Detail), "."); detail != "" {
			message += ": " + strings.Join(strings.Fields(detail), " ")
		}
		severity := Error
		if d.Severity == hcl.DiagWarning {
			severity = Warning
		}
		m.add(severity, rng, message)
	}
}

func (m *mistakes) failed() bool { return m.list.HasErrors() }

// finish cuts out the source lines and returns the diagnostics in order: file
// by file, from top to bottom.
func (m *mistakes) finish() Diagnostics {
	masked := map[string][]byte{}
	for name, src := range m.sources {
		masked[name] = mask(src, name, m.secrets)
	}
	for i := range m.list {
		d := &m.list[i]
		src, ok := masked[d.File]
		if ok && d.Line > 0 && d.from <= d.to && d.to <= len(src) {
			d.cut(src)
		}
	}
	sort.SliceStable(m.list, func(i, j int) bool {
		a, b := m.list[i], m.list[j]
		if a.File != b.File {
			return a.File < b.File
		}
		return a.from < b.from
	})
	return m.list
}

// cut takes the line around src[from:to].
func (d *Diagnostic) cut(src []byte) {
	start := bytes.LastIndexByte(src[:d.from], '\n') + 1
	end := len(src)
	if i := bytes.IndexByte(src[d.from:], '\n'); i >= 0 {
		end = d.from + i
	}
	d.before = string(src[start:d.from])
	d.marked = string(src[d.from:max(min(d.to, end), d.from)])
	d.Source = strings.TrimRight(string(src[start:end]), "\r")
}

// mask overwrites the ranges of a file that hold secrets, byte for byte, so
// that columns stay where they are. A literal keeps its quotes: the file can
// still be read.
func mask(src []byte, file string, secrets []hcl.Range) []byte {
	if len(secrets) == 0 {
		return src
	}
	masked := bytes.Clone(src)
	for _, r := range secrets {
		if r.Filename != file {
			continue
		}
		from, to := r.Start.Byte, min(r.End.Byte, len(masked))
		if to-from >= 2 && src[from] == '"' && src[to-1] == '"' {
			from, to = from+1, to-1
		}
		for i := from; i < to; i++ {
			if masked[i] != '\n' {
				masked[i] = '*'
			}
		}
	}
	return masked
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] < 'A' || s[1] > 'Z') {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func nonEmpty(lines []string) []string {
	var kept []string
	for _, l := range lines {
		if l != "" {
			kept = append(kept, l)
		}
	}
	return kept
}
