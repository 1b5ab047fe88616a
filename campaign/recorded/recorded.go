// Package recorded reads the experiment of a run again, from the run's
// directory and from the file that it came from. A run goes on only with what it
// began with, so whatever differs is refused with the difference. The package
// knows what a run directory and an experiment are; it knows no testbed, and
// writes nothing.
package recorded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/rogpeppe/go-internal/diff"

	"bela/experiment"
	"bela/store"
)

// Options say how to read.
type Options struct {
	// Inputs are what is given now; what is not comes from the run.
	Inputs experiment.Inputs
	// IgnoreChanges takes the run's copy of the experiment file whatever became
	// of the file.
	IgnoreChanges bool
	// OtherMachines says that the hosts may differ from the run's.
	OtherMachines bool
	// SameBela says that this bela made the run: the plan must then be the same
	// to the last setting. Another bela may have settings that the run's had not.
	SameBela bool
}

// Loaded is the experiment of a run.
type Loaded struct {
	Experiment *experiment.Experiment
	Plan       *experiment.Plan // with the cells that the run was to do
	Invocation store.Invocation
	// Notes are for the user: what was taken from where.
	Notes []string
}

// ChangedError says that what is given now is not what the run began with.
type ChangedError struct {
	What string // in a sentence
	Diff string // lines; empty where there is none to show
	Next string
}

func (e *ChangedError) Error() string {
	s := e.What
	if e.Diff != "" {
		s += "\n\n" + strings.TrimRight(e.Diff, "\n") + "\n\n"
	} else {
		s += "; "
	}
	return s + e.Next
}

const newRun = "start a new run with bela run for another experiment"

// Inventory is the inventory that the run began with, as -inventory takes it:
// the run's copy where it has one, else the file. It is empty where there was none.
func Inventory(run *store.Reader) (string, error) {
	call, err := run.Invocation()
	if errors.Is(err, fs.ErrNotExist) || err == nil && call.Inventory == "" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	path, err := run.Inventory()
	if err != nil {
		return "", err
	}
	if path == "" {
		path = call.Inventory
	}
	return call.InventoryFormat + ":" + path, nil
}

// Load reads the experiment that run was made of, and holds it against what the
// run's directory has. Its error is a *ChangedError where they differ.
func Load(run *store.Reader, o Options) (*Loaded, error) {
	l := &Loaded{}
	var err error
	if l.Invocation, err = run.Invocation(); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: the bela that made this run did not write down how it was called: run what is missing with bela run -only", run.Dir)
	} else if err != nil {
		return nil, err
	}
	stored, err := run.Experiment()
	if err != nil {
		return nil, err
	}
	variables, err := run.Variables()
	if err != nil {
		return nil, err
	}
	in := o.Inputs
	in.Recorded = known(variables)
	if err := l.source(&in, stored, o.IgnoreChanges); err != nil {
		return nil, err
	}
	if l.Experiment, err = experiment.Load(l.Invocation.Experiment, in); err != nil {
		return nil, err
	}
	if err := l.secrets(); err != nil {
		return nil, err
	}
	if err := sameVariables(variables, l.Experiment.Variables()); err != nil {
		return nil, err
	}
	l.Plan = l.Experiment.Plan()
	if l.Invocation.Only != "" {
		if l.Plan, err = l.Plan.Select(l.Invocation.Only); err != nil {
			return nil, err
		}
	}
	return l, samePlan(run.PlanJSON, l.Plan, o)
}

// known are the variables whose values the run has.
func known(variables map[string]string) map[string]string {
	values := maps.Clone(variables)
	maps.DeleteFunc(values, func(_, v string) bool { return v == experiment.Secret("").String() })
	return values
}

// source decides whether the file or the run's copy of it is read. The file is
// taken where it is unchanged: it has the secrets that the copy has not.
func (l *Loaded) source(in *experiment.Inputs, stored []byte, ignore bool) error {
	path := l.Invocation.Experiment
	file, err := os.ReadFile(path)
	switch {
	case err == nil && experiment.SameButSecrets(stored, file):
		return nil
	case err == nil && !ignore:
		return &ChangedError{
			What: fmt.Sprintf("%s has changed since the run began", path), Diff: sourceDiff(path, stored, file, *in),
			Next: "go on with the run's own copy with -ignore-changes, put the file back, or " + newRun,
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !ignore:
		return fmt.Errorf("the run's experiment file cannot be read: %w; go on with the run's own copy with -ignore-changes", err)
	}
	why := "has changed"
	if err != nil {
		why = "is not there any more"
	}
	l.Notes = append(l.Notes, fmt.Sprintf("%s %s: the run goes on with its own copy", path, why))
	in.ReadFile = func(name string) ([]byte, error) {
		if name == path {
			return stored, nil
		}
		return os.ReadFile(name)
	}
	return nil
}

// sourceDiff shows what changed in the file. Its secrets are masked, which takes
// a file that can be read; of another only the mistakes are shown.
func sourceDiff(path string, stored, file []byte, in experiment.Inputs) string {
	e, err := experiment.Load(path, in)
	if err == nil {
		return unified("in the run", stored, "now", e.Source())
	}
	// A new variable without a value, say, or half a block: show where it begins
	// to differ, and what is wrong with it.
	line := 1
	for i := range min(len(stored), len(file)) {
		if stored[i] != file[i] && stored[i] != '*' {
			break
		}
		if file[i] == '\n' {
			line++
		}
	}
	return fmt.Sprintf("from line %d on; and as it is now:\n%v", line, err)
}

// maxDiff bounds the lines of a difference that is shown.
const maxDiff = 60

func unified(oldName string, old []byte, newName string, new []byte) string {
	lines := bytes.SplitAfter(diff.Diff(oldName, old, newName, new), []byte{'\n'})
	if len(lines) > 0 {
		lines = lines[1:] // the command that would make it
	}
	more := len(lines) - maxDiff
	if more > 0 {
		lines = append(lines[:maxDiff:maxDiff], fmt.Appendf(nil, "… and %d lines more\n", more))
	}
	return printable(string(bytes.Join(lines, nil)))
}

// printable keeps what a file has in it from acting on a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) {
			return '�'
		}
		return r
	}, text)
}

// secrets demands those that no file has.
func (l *Loaded) secrets() error {
	again := l.Experiment.Secrets()
	var missing []string
	for _, name := range l.Invocation.Secrets {
		if !slices.Contains(again, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the run does not keep secrets: give these again, with -var, -var-file or in the environment: %s", strings.Join(missing, ", "))
	}
	if blank := l.Experiment.BlankedSecrets(); len(blank) > 0 {
		return fmt.Errorf("the run's copy of the experiment has no secrets, and the file itself is not used: missing are %s; put %s back as it was, or give variables with -var",
			strings.Join(blank, ", "), l.Invocation.Experiment)
	}
	return nil
}

func sameVariables(before, now map[string]string) error {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if was, ok := before[name]; ok && was != now[name] {
			lines = append(lines, fmt.Sprintf("-%s = %s\n+%s = %s\n", name, was, name, now[name]))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &ChangedError{
		What: "variables have other values than in the run", Diff: printable(strings.Join(lines, "")),
		Next: "leave them out, and the run's own values are taken; or " + newRun,
	}
}
