package meter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"bela/agents/protocol"
)

// Bounds of what is taken out of an endpoint's page.
const (
	maxSeries = 20_000
	maxLine   = 64 << 10
)

// selector is a metric and labels that its series must have.
type selector struct {
	name   string
	labels map[string]string
}

// prometheus reads any endpoint in Prometheus' text format: the sum of all series
// that each selector takes, and ever took.
type prometheus struct {
	*web
	wanted  map[string]selector // by the number's name
	tallies map[string]*tally   // the same
	header  http.Header
}

// tally adds up the series of one number. One that ends, as with a connection,
// keeps what it had, and one that begins again from zero adds to that: a sum that
// fell would be taken for that of a process that was started again.
type tally struct {
	last  map[string]float64 // by labels, also of series that are gone
	ended float64            // of what began again, and of those that are forgotten
}

// add takes all series that there are now, and returns the sum; false where there
// has never been one.
func (t *tally) add(now map[string]float64) (sum float64, ok bool) {
	if t.last == nil {
		t.last = make(map[string]float64)
	}
	for labels, n := range now {
		if had := t.last[labels]; n < had {
			t.ended += had
		}
		t.last[labels] = n
	}
	if len(t.last) > maxSeries {
		for labels, had := range t.last {
			if _, there := now[labels]; !there {
				t.ended += had
				delete(t.last, labels)
			}
		}
	}
	sum = t.ended
	for _, n := range t.last {
		sum += n
	}
	return sum, len(t.last) > 0
}

func newPrometheus(spec protocol.MeterSpec) (source, error) {
	w, err := newWeb(spec)
	if err != nil {
		return nil, err
	}
	if len(spec.Map) == 0 {
		return nil, errors.New("metrics: the source prometheus needs a map of numbers to metrics")
	}
	p := &prometheus{web: w, wanted: make(map[string]selector), tallies: make(map[string]*tally), header: http.Header{"Accept": {"text/plain;version=0.0.4"}}}
	for number, text := range spec.Map {
		if p.wanted[number], err = parseSelector(text); err != nil {
			return nil, fmt.Errorf("metrics: %s: %w", number, err)
		}
		p.tallies[number] = new(tally)
	}
	return p, nil
}

// parseSelector reads name{label="value",…}: it is a line of the format itself,
// without its value.
func parseSelector(text string) (selector, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text + " 0\n"))
	if err != nil || len(families) != 1 || strings.ContainsAny(text, "#\n") {
		return selector{}, fmt.Errorf(`%q is no metric: it looks like bytes_total or bytes_total{direction="in"}`, text)
	}
	for name, f := range families {
		return selector{name, labelsOf(f.GetMetric()[0])}, nil
	}
	return selector{}, nil
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := make(map[string]string, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}

func (p *prometheus) read(ctx context.Context) (*protocol.Traffic, error) {
	var t *protocol.Traffic
	err := p.get(ctx, "", p.header, func(r io.Reader) (err error) {
		t, err = p.page(r)
		return err
	})
	return t, err
}

// page reads what an endpoint answers.
func (p *prometheus) page(r io.Reader) (*protocol.Traffic, error) {
	lines, err := p.filter(r)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(lines)
	if err != nil {
		return nil, fmt.Errorf("the answer makes no sense: %w", err)
	}
	var t protocol.Traffic
	var missing []string
	for _, number := range slices.Sorted(maps.Keys(p.wanted)) {
		total, ok := p.tallies[number].add(taken(families, p.wanted[number]))
		n := int64(math.Round(total))
		if !ok || total >= math.MaxInt64 {
			missing = append(missing, p.wanted[number].name)
			continue
		}
		*field(&t, number) = &n
	}
	if len(missing) > 0 {
		return &t, fmt.Errorf("it has no series of %s", strings.Join(missing, ", "))
	}
	return &t, nil
}

// filter keeps the lines of the metrics that are wanted: a page may have many
// thousand others, and this runs beside what is measured. Without the comments
// every line counts for itself, also those of a histogram.
func (p *prometheus) filter(r io.Reader) (io.Reader, error) {
	var kept bytes.Buffer
	series := 0
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		end := bytes.IndexAny(line, "{ \t")
		if end <= 0 || line[0] == '#' || !p.wants(string(line[:end])) {
			continue
		}
		if series++; series > maxSeries {
			return nil, fmt.Errorf("there are more than %d series: take labels that fewer have", maxSeries)
		}
		kept.Write(line)
		kept.WriteByte('\n')
	}
	return &kept, lines.Err()
}

func (p *prometheus) wants(name string) bool {
	for _, w := range p.wanted {
		if w.name == name {
			return true
		}
	}
	return false
}

// taken are the series that a selector takes, by their labels; one that is no
// count is left out.
func taken(families map[string]*dto.MetricFamily, s selector) map[string]float64 {
	all := make(map[string]float64)
	for _, m := range families[s.name].GetMetric() {
		has := labelsOf(m)
		matches := true
		for name, value := range s.labels {
			matches = matches && has[name] == value
		}
		if n := m.GetUntyped().GetValue(); matches && n >= 0 && n < math.MaxInt64 { // not NaN either
			all[keyOf(has)] += n
		}
	}
	return all
}

// keyOf tells series of one metric apart.
func keyOf(labels map[string]string) string {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&key, "%q=%q,", name, labels[name])
	}
	return key.String()
}

// field is where a number of a MeterSpec's Map belongs.
func field(t *protocol.Traffic, number string) **int64 {
	switch number {
	case protocol.TrafficBytesIn:
		return &t.BytesIn
	case protocol.TrafficBytesOut:
		return &t.BytesOut
	case protocol.TrafficMessagesIn:
		return &t.MessagesIn
	case protocol.TrafficMessagesOut:
		return &t.MessagesOut
	case protocol.TrafficDropped:
		return &t.Dropped
	}
	return new(*int64) // checked when the experiment was read
}
