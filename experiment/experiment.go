package experiment

import (
	"fmt"
	"regexp"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Defaults of the experiment block.
const (
	defaultSeed    = 1
	defaultWarmup  = 10 * time.Second
	defaultMeasure = 5 * time.Minute
	defaultDrain   = 15 * time.Second
	defaultReady   = 30 * time.Second
	defaultConnect = 60 * time.Second
	defaultCollect = 30 * time.Second

	maxRepetitions = 1000
	maxRetry       = 10
)

// experimentName is also a directory's name.
var experimentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// experimentBlock reads the experiment, except for its phases, which may
// differ from cell to cell.
func (l *loader) experimentBlock(b *hclsyntax.Block) {
	l.matrix = &matrix{header: hcl.Range{Filename: l.path}}
	if b == nil {
		return
	}
	r := l.m.reader(b, l.static)
	if len(b.Labels) != 1 {
		l.m.error(b.DefRange(), "an experiment block has one label, the experiment's name", `for example: experiment "qos1" { … }`)
	} else if !experimentName.MatchString(b.Labels[0]) {
		l.m.error(b.LabelRanges[0], fmt.Sprintf("%q cannot be the experiment's name: it names a directory", clip(b.Labels[0])),
			"legal: a letter or digit, then at most 63 letters, digits, _ . and -")
	} else {
		l.plan.Experiment = b.Labels[0]
	}
	l.plan.Description, _ = r.text("description", 4096)
	l.plan.Seed = defaultSeed
	if seed, ok := r.whole("seed", 0, 1<<53); ok {
		l.plan.Seed = seed
	}
	l.plan.Repetitions = 1
	if n, ok := r.whole("repetitions", 1, maxRepetitions); ok {
		l.plan.Repetitions = int(n)
	}
	if p := l.repeatBlock(r.nested("repeat")); p != nil {
		if r.has("repetitions") {
			r.wrong("repetitions", "the repeat block says how many there are", "take out repetitions, or the repeat block")
		}
		l.plan.Repeat, l.plan.Repetitions = p, max(p.AtMost, 1)
	}
	if n, ok := r.whole("retry", 0, maxRetry); ok {
		l.plan.Retry = int(n)
	}
	l.plan.Calibrate, _ = r.truth("calibrate")
	l.lossPolicy(r)
	l.plan.Order = OrderAsWritten
	if order, ok := r.choice("order", string(OrderAsWritten), string(OrderShuffled)); ok {
		l.plan.Order = Order(order)
	}
	if n := r.nested("matrix"); n != nil {
		l.matrixBlock(firstBlock(b, "matrix"), l.plan.Repetitions)
	}
	if r.nested("phases") != nil {
		l.phases = firstBlock(b, "phases")
	}
	l.plan.Dimensions = l.matrix.names()
	r.finish()
}

func firstBlock(b *hclsyntax.Block, kind string) *hclsyntax.Block {
	for _, inner := range b.Body.Blocks {
		if inner.Type == kind {
			return inner
		}
	}
	return nil
}

// phasesBlock reads the phases as they are in one cell.
func (l *loader) phasesBlock(s *scope) *Phases {
	p := &Phases{
		Warmup: defaultWarmup, Measure: defaultMeasure, Drain: defaultDrain,
		Ready: defaultReady, Connect: defaultConnect, Collect: defaultCollect,
	}
	if l.phases == nil {
		return p
	}
	r := l.m.reader(l.phases, s)
	for _, field := range []struct {
		name  string
		least time.Duration
		to    *time.Duration
	}{
		{"warmup", 0, &p.Warmup},
		{"measure", time.Second, &p.Measure},
		{"drain", 0, &p.Drain},
		{"ready", time.Second, &p.Ready},
		{"connect", time.Second, &p.Connect},
		{"collect", time.Second, &p.Collect},
	} {
		if d, ok := r.length(field.name, field.least, maxDuration); ok {
			*field.to = d
		}
	}
	r.finish()
	return p
}
