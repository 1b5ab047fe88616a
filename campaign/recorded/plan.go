package recorded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"bela/experiment"
)

// samePlan holds the plan as it is made now against the one that the run began
// with: also what the file reads from elsewhere, with file() and env(), decides
// what is measured.
func samePlan(stored json.RawMessage, plan *experiment.Plan, o Options) error {
	before, err := generic(stored)
	if err != nil {
		return fmt.Errorf("plan.json: %w", err)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	now, err := generic(text)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	if o.OtherMachines {
		withoutMachines(before)
		withoutMachines(now)
	}
	if !o.SameBela {
		now = shared(before, now)
	}
	if reflect.DeepEqual(before, now) {
		return nil
	}
	return &ChangedError{
		What: "the plan is not the run's, though the experiment file is the same: what it reads with env() or file(), or the machines, have changed",
		Diff: unified("in the run", indented(before), "now", indented(now)),
		Next: "put them back, or " + newRun,
	}
}

func generic(text []byte) (map[string]any, error) {
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&v)
	return v, err
}

// withoutMachines takes out of a plan how its nodes are reached.
func withoutMachines(plan map[string]any) {
	delete(plan, "ssh")
	groups, _ := plan["groups"].([]any)
	for _, g := range groups {
		if g, ok := g.(map[string]any); ok {
			delete(g, "hosts")
			delete(g, "spares")
			delete(g, "user")
		}
	}
}

// shared is the part of now that before has too.
func shared[T any](before, now T) T {
	switch b := any(before).(type) {
	case map[string]any:
		n, ok := any(now).(map[string]any)
		if !ok {
			return now
		}
		out := make(map[string]any)
		for k, v := range n {
			if was, ok := b[k]; ok {
				out[k] = shared(was, v)
			}
		}
		return any(out).(T)
	case []any:
		n, ok := any(now).([]any)
		if !ok || len(n) != len(b) {
			return now
		}
		out := make([]any, len(n))
		for i := range n {
			out[i] = shared(b[i], n[i])
		}
		return any(out).(T)
	}
	return now
}

// indented is a plan as lines, for a difference.
func indented(plan map[string]any) []byte {
	text, err := json.MarshalIndent(plan, "", "  ")
	if err != nil { // cannot be: it was decoded from JSON
		return []byte(err.Error())
	}
	return append(text, '\n')
}
