package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bela/measure"
	"bela/store"
)

// MostHistoryRuns bounds how many runs a history takes: the newest.
const MostHistoryRuns = 1000

// History is one experiment over its runs, the oldest first.
type History struct {
	Experiment string       `json:"experiment"`
	Dir        string       `json:"dir"`
	Runs       []HistoryRun `json:"runs"`
	LeftOut    []LeftOutRun `json:"left_out"`
	// Series hold what was measured, by combination and metric.
	Series []HistorySeries `json:"series"`
	// Alpha and Permutations are those of the search for changes.
	Alpha        float64 `json:"alpha"`
	Permutations int     `json:"permutations"`
	LeastRuns    int     `json:"least_runs"`
	// index finds a series by its combination and metric.
	index map[seriesKey]int
}

type seriesKey struct{ cell, name, component string }

// HistoryRun is a run of a history.
type HistoryRun struct {
	// Run is its directory's name.
	Run       string    `json:"run"`
	StartedAt time.Time `json:"started_at"`
	// Running says that it is still going; Missing counts cells without a result.
	Running bool `json:"running"`
	Missing int  `json:"missing_cells"`
	// Conditions are what differs from the run before, besides what was measured.
	Conditions []Condition `json:"conditions"`
}

// LeftOutRun is a directory that is no part of a history.
type LeftOutRun struct {
	Run string `json:"run"`
	Why string `json:"why"`
}

// HistorySeries is one metric of one combination, run by run.
type HistorySeries struct {
	// Cell names the combination: its dimensions with their values.
	Cell string `json:"cell"`
	measure.Metric
	// Points are in the order of the runs; runs without the number have none.
	Points []HistoryPoint `json:"points"`
	measure.Changes
}

// HistoryPoint is what one run says of a metric.
type HistoryPoint struct {
	// Run is the run's index in History.Runs.
	Run int `json:"run"`
	measure.Median
}

// HistoryMetrics are what a history shows unless it is asked for others.
func HistoryMetrics() []string {
	return []string{"latency_p50_ms", "latency_p99_ms", "drops_per_5min", "delivered_msg_s"}
}

// HistoryOf reads the runs of an experiment, one after the other, and finds where
// their medians changed. The experiment is that of most of the runs. Metrics are
// names of MetricNames.
//
// Errors: none of the runs can be read to its end.
func HistoryOf(dir string, listed []store.Listed, metrics []string) (History, error) {
	h := History{Dir: dir, Runs: []HistoryRun{}, LeftOut: []LeftOutRun{}, Series: []HistorySeries{}, index: map[seriesKey]int{},
		Alpha: measure.ChangeAlpha, Permutations: measure.ChangePermutations, LeastRuns: measure.LeastRuns()}
	h.Experiment = mostly(listed)
	listed = slices.DeleteFunc(slices.Clone(listed), func(l store.Listed) bool {
		switch {
		case l.Err != nil:
			h.leaveOut(l.Dir, l.Err.Error())
		case l.Experiment != h.Experiment:
			h.leaveOut(l.Dir, fmt.Sprintf("it is a run of another experiment, %s", l.Experiment))
		default:
			return false
		}
		return true
	})
	for len(listed) > MostHistoryRuns {
		h.leaveOut(listed[0].Dir, fmt.Sprintf("it is older than the newest %d", MostHistoryRuns))
		listed = listed[1:]
	}
	var before *Side
	for _, l := range listed {
		side, err := h.add(l, before, metrics)
		if err != nil {
			h.leaveOut(l.Dir, err.Error())
			continue
		}
		before = &side
	}
	if len(h.Runs) == 0 {
		why := ""
		for _, l := range h.LeftOut {
			why = fmt.Sprintf("; %s: %s", l.Run, l.Why)
		}
		return h, fmt.Errorf("%s holds no run that can be read%s", dir, why)
	}
	h.arrange(metrics)
	for i := range h.Series {
		values := make([]float64, len(h.Series[i].Points))
		for k, p := range h.Series[i].Points {
			values[k] = p.Value
		}
		h.Series[i].Changes = measure.FindChanges(values)
	}
	return h, nil
}

// mostly is the experiment of most runs; of equally many, that of the newest.
func mostly(listed []store.Listed) string {
	count := map[string]int{}
	for _, l := range listed {
		if l.Err == nil {
			count[l.Experiment]++
		}
	}
	name := ""
	for _, l := range listed {
		if l.Err == nil && count[l.Experiment] >= count[name] {
			name = l.Experiment
		}
	}
	return name
}

func (h *History) leaveOut(dir, why string) {
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(why, "run "), dir); ok {
		why = strings.TrimLeft(rest, ": /") // the line names it already
	}
	h.LeftOut = append(h.LeftOut, LeftOutRun{Run: filepath.Base(dir), Why: why})
}

// add takes a run's medians and what differs from the run before.
func (h *History) add(l store.Listed, before *Side, metrics []string) (Side, error) {
	run, err := store.Open(l.Dir, "")
	if err != nil {
		return Side{}, err
	}
	side, err := SideOf(run)
	if err != nil {
		return Side{}, err
	}
	r := HistoryRun{Run: filepath.Base(l.Dir), StartedAt: l.StartedAt, Running: run.Running, Missing: len(run.Missing()), Conditions: []Condition{}}
	if before != nil {
		r.Conditions = append(r.Conditions, conditions(*before, side, measure.Match(before.Combinations, side.Combinations))...)
	}
	h.Runs = append(h.Runs, r)
	for _, k := range side.Combinations {
		for _, m := range selectMetrics(measure.Pair{Base: k}, metrics) {
			if median := measure.MedianOf(k.Samples(m)); median != nil {
				s := h.series(place(k, nil), m)
				s.Points = append(s.Points, HistoryPoint{Run: len(h.Runs) - 1, Median: *median})
			}
		}
	}
	return side, nil
}

// series is that of a combination and metric, which may be new.
func (h *History) series(cell string, m measure.Metric) *HistorySeries {
	key := seriesKey{cell, m.Name, m.Component}
	i, known := h.index[key]
	if !known {
		i = len(h.Series)
		h.index[key] = i
		h.Series = append(h.Series, HistorySeries{Cell: cell, Metric: m})
	}
	return &h.Series[i]
}

// arrange puts the series of a combination together, in the order in which
// combinations first ran and metrics were asked for.
func (h *History) arrange(metrics []string) {
	first := map[string]int{}
	for i, s := range h.Series {
		if _, ok := first[s.Cell]; !ok {
			first[s.Cell] = i
		}
	}
	slices.SortStableFunc(h.Series, func(a, b HistorySeries) int {
		return cmp.Or(cmp.Compare(first[a.Cell], first[b.Cell]), cmp.Compare(slices.Index(metrics, a.Name), slices.Index(metrics, b.Name)))
	})
}

// improved says whether a change is for the better; nil where the metric has no
// better direction, or the medians are the same.
func (s HistorySeries) improved(c measure.Change) *bool {
	if s.Better != measure.LowerIsBetter && s.Better != measure.HigherIsBetter || c.From == c.To {
		return nil
	}
	better := (c.To < c.From) == (s.Better == measure.LowerIsBetter)
	return &better
}

// changedAt says in words what changed, when, and by how much.
func (h History) changedAt(s HistorySeries, c measure.Change) item {
	i := item{Text: fmt.Sprintf("%s changed at %s: from %s to %s", clean(s.String()), clean(h.Runs[s.Points[c.At].Run].Run), number(&c.From), number(&c.To))}
	if c.Relative != nil {
		i.Text += " (" + changeText(c.Relative) + ")"
	}
	if better := s.improved(c); better != nil {
		i.Text, i.Tone = i.Text+": worse", bad
		if *better {
			i.Text, i.Tone = strings.TrimSuffix(i.Text, "worse")+"better", good
		}
	}
	return i
}

// changedRuns are the runs at which a series changed.
func (h History) changedRuns() map[int]bool {
	at := map[int]bool{}
	for _, s := range h.Series {
		for _, c := range s.Found {
			at[s.Points[c.At].Run] = true
		}
	}
	return at
}

// HistoryJSON writes a history for a program to read.
func HistoryJSON(w io.Writer, h History) error {
	b, err := json.MarshalIndent(h, "", "  ")
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// sparks are the heights of a sparkline.
const sparks = "▁▂▃▄▅▆▇█"

// sparkWidth bounds a sparkline: of more runs, neighbours share a mark.
const sparkWidth = 40

// sparkline draws a series over all runs in one line, from its least to its
// largest value; a dot is a run without the number.
func sparkline(s HistorySeries, runs int) string {
	width := min(runs, sparkWidth)
	groups := make([][]float64, width)
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range s.Points {
		g := p.Run * width / runs
		groups[g] = append(groups[g], p.Value)
		low, high = min(low, p.Value), max(high, p.Value)
	}
	line, marks := make([]rune, width), []rune(sparks)
	for i, values := range groups {
		switch {
		case len(values) == 0:
			line[i] = '·'
		case high <= low:
			line[i] = marks[len(marks)/2]
		default:
			share := (measure.MedianOf(values).Value/2 - low/2) / (high/2 - low/2) // halves do not overflow
			line[i] = marks[min(int(share*float64(len(marks))), len(marks)-1)]
		}
	}
	return string(line)
}
