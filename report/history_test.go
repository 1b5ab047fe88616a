package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"bela/measure"
	"bela/store"
)

// stepped is a history of 14 runs of which the ninth is the first with three
// times the latency in the first combination. The second combination stays as it is; a
// third is measured from the fourth run on. The last run is torn, the one before
// it is another experiment's.
func stepped(t *testing.T, evil string) History {
	t.Helper()
	var listed []store.Listed
	for i := range 16 {
		r := ordinary(fmt.Sprintf("r%02d", i+1))
		r.repetitions, r.evil = 2, evil
		slow := i >= 8
		r.p50 = func(combination, repetition int) float64 {
			v := 10 + float64((i*7)%5)/10 + float64(repetition)/100
			if slow && combination == 0 {
				v *= 3
			}
			return v
		}
		if slow {
			r.version = "1.1"
		}
		if i >= 3 {
			r.values = append(slices.Clone(r.values), []any{500.0, 1.0})
		}
		if i == 5 {
			r.invalid = 2 // nothing of its first combination can be used
		}
		run := r.store(t)
		l := store.Listed{Dir: run.Dir, Experiment: "exp", StartedAt: began.Add(time.Duration(i) * time.Hour)}
		switch i {
		case 14:
			l.Experiment = "other" + evil
		case 15:
			must(t, os.WriteFile(filepath.Join(run.CellDir(1), "summary.json"), []byte("{torn"), 0o644))
		}
		listed = append(listed, l)
	}
	listed = append(listed, store.Listed{Dir: "results/exp/notes" + evil, Err: errors.New("results/exp/notes" + evil + ": not a run directory")})
	h, err := HistoryOf("results/exp"+evil, listed, []string{"latency_p50_ms", "cpu_mcpu_mean"})
	must(t, err)
	return h
}

// The planted step must be found where it was planted, with its size, and nowhere
// else; a run without a number must not move it.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := stepped(t, "")
	if len(h.Runs) != 14 || h.Experiment != "exp" {
		t.Fatalf("%d runs of %s", len(h.Runs), h.Experiment)
	}
	var names []string
	for _, s := range h.Series {
		names = append(names, s.Cell+" "+s.String())
		planted := s.Cell == "devices=1 qos=1" && s.Name == "latency_p50_ms"
		if planted != (len(s.Found) == 1) || !planted && len(s.Found) > 0 {
			t.Fatalf("%s %s: %+v in %+v", s.Cell, s, s.Found, s.Points)
		}
		if want := map[string]int{"devices=1 qos=1": 13, "devices=100 qos=1": 14, "devices=500 qos=1": 11}[s.Cell]; len(s.Points) != want {
			t.Errorf("%s %s has %d points, want %d", s.Cell, s, len(s.Points), want)
		}
		if planted {
			c := s.Found[0]
			if s.Points[c.At].Run != 8 || c.Relative == nil || *c.Relative < 1.9 || *c.Relative > 2.1 {
				t.Errorf("changed at run %d: %+v", s.Points[c.At].Run, c)
			}
		}
	}
	if want := []string{
		"devices=1 qos=1 latency_p50_ms", "devices=1 qos=1 cpu_mcpu_mean broker", "devices=1 qos=1 cpu_mcpu_mean gateway",
		"devices=100 qos=1 latency_p50_ms", "devices=100 qos=1 cpu_mcpu_mean broker", "devices=100 qos=1 cpu_mcpu_mean gateway",
		"devices=500 qos=1 latency_p50_ms", "devices=500 qos=1 cpu_mcpu_mean broker", "devices=500 qos=1 cpu_mcpu_mean gateway",
	}; !slices.Equal(names, want) {
		t.Errorf("series %q", names)
	}
	var out bytes.Buffer
	must(t, HistoryText(&out, h, Options{Width: 100}))
	for _, want := range []string{
		"▁▁▁▁▁·▁▁███", "-r09: from ", "%): worse\n", "since the run before:", "bela: 1.0 against 1.1",
		"notes: not a run directory\n", "it is a run of another experiment, other\n", "summary.json is corrupt", "9 series were searched, 1 changed",
	} {
		if !strings.Contains(strings.ReplaceAll(out.String(), "\n    ", " "), want) {
			t.Errorf("the text does not say %q:\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > 100 {
			t.Errorf("%d columns: %s", w, line)
		}
	}
	out.Reset()
	must(t, HistoryJSON(&out, h))
	var read struct {
		Series []struct {
			Metric  string
			Points  []struct{ Median float64 }
			Changes []struct{ At int }
		}
	}
	must(t, json.Unmarshal(out.Bytes(), &read))
	if s := read.Series[0]; s.Metric != "latency_p50_ms" || len(s.Points) != 13 || len(s.Changes) != 1 || s.Changes[0].At != 7 {
		t.Errorf("%+v", s)
	}
	if HistoryText(broken{}, h, Options{}) == nil || HistoryJSON(broken{}, h) == nil || HistoryHTML(broken{}, h) == nil {
		t.Error("a writer that failed passes for a written history")
	}
}

// A history of nothing must say why, and not end bela.
func TestHistoryOfNothing(t *testing.T) {
	t.Parallel()
	for name, listed := range map[string][]store.Listed{
		"no directory": nil,
		"none read":    {{Dir: filepath.Join(t.TempDir(), "gone"), Experiment: "exp"}},
	} {
		if _, err := HistoryOf("results/exp", listed, HistoryMetrics()); err == nil || !strings.Contains(err.Error(), "no run that can be read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Many runs share the marks of one line; none may fall out of it, whatever the values.
func TestSparkline(t *testing.T) {
	t.Parallel()
	var s HistorySeries
	for i := range 1000 {
		s.Points = append(s.Points, HistoryPoint{Run: i, Median: measure.Median{Value: float64(i/500) * 1.7e308}})
	}
	if got, want := sparkline(s, 1000), strings.Repeat("▁", 20)+strings.Repeat("█", 20); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s.Points = s.Points[:1]
	if got := sparkline(s, 3); got != "▅··" {
		t.Errorf("%s", got)
	}
}

// A history is shown to those who were not there, with names from other machines'
// files: none may steer the terminal or the page, and it must look right wherever
// it is opened.
func TestHistoryInBrowser(t *testing.T) {
	t.Parallel()
	h := stepped(t, hostile)
	var page, text bytes.Buffer
	must(t, HistoryHTML(&page, h))
	must(t, HistoryText(&text, h, Options{}))
	if strings.Contains(page.String(), "<script") || strings.ContainsAny(page.String()+text.String(), "\x1b\r\u202e") {
		t.Error("the history holds foreign markup or control characters")
	}
	if !strings.Contains(page.String(), "latency_p50_ms changed at ") || strings.Count(page.String(), `<svg class="chart"`) != 9 {
		t.Error("the page does not show what was planted")
	}
	inBrowser(t, "history", func(w io.Writer) error { return HistoryHTML(w, h) }, 12)
}
