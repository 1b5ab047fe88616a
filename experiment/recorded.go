package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// recordedValues gives variables the values that an earlier run had. Names that
// the file no longer declares are left out: whoever asks for the values
// compares the files.
func (l *loader) recordedValues() {
	for _, name := range sortedKeys(l.in.Recorded) {
		v, ok := l.variables[name]
		if !ok || v.sensitive {
			continue // of a secret there is no record
		}
		rng := hcl.Range{Filename: "the run's variable " + name}
		v.given = true
		value, problem := v.kind.parse(l.in.Recorded[name])
		if problem != "" {
			l.m.error(rng, problem)
			continue
		}
		l.assign(v, value, rng, "the recorded value")
	}
}

// Secrets are where the experiment has a secret that has to be given again to
// go on with a run, in words: variables whose values came from outside of the
// file, and what became of others. Nothing that is stored of a run holds them.
func (e *Experiment) Secrets() []string { return slices.Clone(e.secrets) }

// BlankedSecrets are where the experiment has asterisks for a secret, as a file
// has that was stored with a run.
func (e *Experiment) BlankedSecrets() []string { return slices.Clone(e.blanked) }

func (l *loader) outsideSecrets() []string {
	var found []string
	for _, name := range sortedKeys(l.variables) {
		if v := l.variables[name]; v.sensitive && v.outside {
			found = append(found, fmt.Sprintf("variable %q", name))
		}
	}
	return append(found, l.usedSecrets(func(text string) bool { return text != "" })...)
}

func (l *loader) blankedSecrets() []string {
	var found []string
	for _, name := range sortedKeys(l.variables) {
		if v := l.variables[name]; v.sensitive && blanked(v.text) {
			found = append(found, fmt.Sprintf("variable %q", name))
		}
	}
	return append(found, l.usedSecrets(blanked)...)
}

// usedSecrets are the places in the plan where a secret of a kind is used.
func (l *loader) usedSecrets(of func(text string) bool) []string {
	var found []string
	if db := l.plan.InfluxDB; db != nil && of(db.Token.Reveal()) {
		found = append(found, "token of influxdb")
	}
	if n := l.plan.Notify; n != nil && of(n.URL.Reveal()) {
		found = append(found, "url of notify")
	}
	for _, cell := range l.plan.Cells {
		for _, c := range cell.Components {
			for _, name := range sortedKeys(c.SecretEnv) {
				at := fmt.Sprintf("%s in env of component %q", name, c.Name)
				if of(c.SecretEnv[name].Reveal()) && !slices.Contains(found, at) {
					found = append(found, at)
				}
			}
		}
	}
	return found
}

// blanked says whether all of a text is what mask writes.
func blanked(text string) bool { return text != "" && strings.Trim(text, "*\n") == "" }

// SameButSecrets says whether a file is what was stored of it: byte for byte,
// but where the stored one has the asterisks of a secret.
func SameButSecrets(stored, file []byte) bool {
	if len(stored) != len(file) {
		return false
	}
	for i, b := range stored {
		if b != '*' && b != file[i] {
			return false
		}
	}
	return true
}
