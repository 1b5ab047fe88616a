package tui

import (
	"strings"

	"charm.land/lipgloss/v2"

	"bela/live"
)

// theme holds the styles. They use the terminal's own sixteen colours, so that
// they fit a light and a dark background; no meaning hangs on a colour alone.
type theme struct {
	plain, faint, bold, title, label lipgloss.Style
	good, warn, bad, accent, run     lipgloss.Style
}

func newTheme() theme {
	s := lipgloss.NewStyle
	return theme{
		plain:  s(),
		faint:  s().Foreground(lipgloss.BrightBlack),
		bold:   s().Bold(true),
		title:  s().Bold(true).Foreground(lipgloss.Cyan),
		label:  s().Foreground(lipgloss.BrightBlack),
		good:   s().Foreground(lipgloss.Green),
		warn:   s().Foreground(lipgloss.Yellow),
		bad:    s().Bold(true).Foreground(lipgloss.Red),
		accent: s().Foreground(lipgloss.Cyan),
		run:    s().Bold(true).Foreground(lipgloss.Cyan),
	}
}

func (t theme) tone(n live.Tone) lipgloss.Style {
	switch n {
	case live.FaintTone:
		return t.faint
	case live.GoodTone:
		return t.good
	case live.WarnTone:
		return t.warn
	case live.BadTone:
		return t.bad
	}
	return t.plain
}

// mark is the sign at the beginning of a line of that tone.
func (t theme) mark(n live.Tone) string {
	switch n {
	case live.GoodTone:
		return t.good.Render("✓")
	case live.WarnTone:
		return t.warn.Render("!")
	case live.BadTone:
		return t.bad.Render("✗")
	}
	return t.faint.Render("·")
}

// sign is the one-column sign of a cell's status.
func sign(s live.Status) string {
	switch s {
	case live.Running:
		return "▸"
	case live.Valid:
		return "✓"
	case live.Degraded:
		return "~"
	case live.Invalid:
		return "✗"
	case live.Skipped:
		return "–"
	}
	return "·"
}

func (t theme) status(s live.Status) lipgloss.Style {
	switch s {
	case live.Running:
		return t.run
	case live.Valid:
		return t.good
	case live.Degraded:
		return t.warn
	case live.Invalid:
		return t.bad
	case live.Skipped:
		return t.warn
	}
	return t.faint
}

// bar draws a share of 0 to 1 in w columns, to an eighth of a column.
func bar(share float64, w int) (full, rest string) {
	if w <= 0 {
		return "", ""
	}
	eighths := int(min(max(share, 0), 1)*float64(w*8) + 0.5)
	full = strings.Repeat("█", eighths/8)
	n := eighths / 8
	if r := eighths % 8; r > 0 {
		full += string([]rune("▏▎▍▌▋▊▉")[r-1])
		n++
	}
	return full, strings.Repeat("░", w-n)
}

// gauge draws a bar that warns as it fills.
func (t theme) gauge(share float64, w int) string {
	style := t.good
	switch {
	case share >= 0.9:
		style = t.bad
	case share >= 0.75:
		style = t.warn
	}
	full, rest := bar(share, w)
	return style.Render(full) + t.faint.Render(rest)
}

// sparkline draws values from 0 to their largest, one column each; a negative
// value is one that is not there.
func sparkline(values []float64) string {
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case top == 0:
			b.WriteRune('▁')
		default:
			b.WriteRune([]rune("▁▂▃▄▅▆▇█")[min(int(v/top*8), 7)])
		}
	}
	return b.String()
}
