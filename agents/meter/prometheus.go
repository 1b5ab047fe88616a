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
// that each selector takes.
type prometheus struct {
	*web
	wanted map[string]selector // by the number's name
	header http.Header
}

func newPrometheus(spec protocol.MeterSpec) (source, error) {
	w, err := newWeb(spec)
	if err != nil {
		return nil, err
	}
	if len(spec.Map) == 0 {
		return nil, errors.New("metrics: the source prometheus needs a map of numbers to metrics")
	}
	p := &prometheus{web: w, wanted: make(map[string]selector), header: http.Header{"Accept": {"text/plain;version=0.0.4"}}}
	for number, text := range spec.Map {
		if p.wanted[number], err = parseSelector(text); err != nil {
			return nil, fmt.Errorf("metrics: %s: %w", number, err)
		}
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
		n, ok := sum(families, p.wanted[number])
		if !ok {
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

// sum adds up the series that a selector takes; false where there is none, or
// they are no count.
func sum(families map[string]*dto.MetricFamily, s selector) (int64, bool) {
	total, found := 0.0, false
	for _, m := range families[s.name].GetMetric() {
		has := labelsOf(m)
		matches := true
		for name, value := range s.labels {
			matches = matches && has[name] == value
		}
		if !matches {
			continue
		}
		total += m.GetUntyped().GetValue()
		found = true
	}
	if !found || math.IsNaN(total) || total < 0 || total >= math.MaxInt64 {
		return 0, false
	}
	return int64(math.Round(total)), true
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
