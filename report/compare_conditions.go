package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/measure"
	"bela/store"
)

// Condition is something besides the measurement that differs between two runs.
type Condition struct {
	What  string `json:"what"`
	Base  string `json:"base"`
	Other string `json:"other"`
	// Where names the cells that it concerns; empty where it is all of them.
	Where []string `json:"where,omitempty"`
	// Refuse says that the numbers then answer different questions; otherwise a
	// difference in them may come from this.
	Refuse bool `json:"refuse"`
}

// String is the condition in one line.
func (c Condition) String() string {
	s := fmt.Sprintf("%s: %s against %s", clean(c.What), clean(c.Base), clean(c.Other))
	if len(c.Where) > 0 {
		s += " (" + strings.Join(c.Where, "; ") + ")"
	}
	return s
}

// lengthTolerance is by how much measured windows may differ: with it, a
// percentile's tail and a count of drops rest on about as many messages.
const lengthTolerance = 0.1

// memoryTolerance is by how much machines' memory may differ: kernels take
// different parts of the same.
const memoryTolerance = 0.05

// unset stands for a setting or fact that is not there.
const unset = "unset"

// conditions are all that differs: first of the runs, then of their cells.
func conditions(base, other Side, m measure.Matching) []Condition {
	var out []Condition
	if base.Name == other.Name {
		out = append(out, Condition{What: "run", Base: base.Name, Other: "itself", Refuse: true})
	}
	switch {
	case base.Environment != nil && other.Environment != nil:
		out = append(out, environments(*base.Environment, *other.Environment)...)
	case base.Environment != other.Environment:
		known := func(e *store.Environment) string {
			if e == nil {
				return "not known"
			}
			return "known"
		}
		out = append(out, Condition{What: "environment", Base: known(base.Environment), Other: known(other.Environment)})
	}
	out = append(out, lengths(m)...)
	out = append(out, settingsOfPairs(base, other, m)...)
	slices.SortStableFunc(out, func(a, b Condition) int {
		switch {
		case a.Refuse == b.Refuse:
			return 0
		case a.Refuse:
			return -1
		}
		return 1
	})
	return out
}

func environments(a, b store.Environment) []Condition {
	var out []Condition
	differ := func(what, x, y string, refuse bool) {
		if x != y {
			out = append(out, Condition{What: what, Base: x, Other: y, Refuse: refuse})
		}
	}
	testbed := func(e store.Environment) string {
		if e.Lab {
			return "loopback lab"
		}
		return "machines"
	}
	differ("testbed", testbed(a), testbed(b), true)
	differ("nodes lost", lostNodes(a), lostNodes(b), false)
	differ("bela", version(a), version(b), false)
	if version(a) == version(b) {
		differ("agent's hash", distinct(a.Nodes, agent), distinct(b.Nodes, agent), false)
		differ("platform's hash", distinct(a.Nodes, platform), distinct(b.Nodes, platform), false)
	}
	differ("seed", strconv.FormatInt(a.Seed, 10), strconv.FormatInt(b.Seed, 10), false)
	return append(out, machines(a.Nodes, b.Nodes)...)
}

func version(e store.Environment) string { return clean(strings.TrimSpace(e.BelaVersion)) }

func agent(n store.NodeEnvironment) string {
	return n.Arch + " " + n.AgentSHA256[:min(12, len(n.AgentSHA256))]
}

func platform(n store.NodeEnvironment) string {
	if n.PlatformSHA256 == "" {
		return ""
	}
	return n.Arch + " " + n.PlatformSHA256[:min(12, len(n.PlatformSHA256))]
}

// machines compares the nodes of each role.
func machines(a, b []store.NodeEnvironment) []Condition {
	byRole := func(nodes []store.NodeEnvironment) map[string][]store.NodeEnvironment {
		m := map[string][]store.NodeEnvironment{}
		for _, n := range nodes {
			m[n.Role] = append(m[n.Role], n)
		}
		return m
	}
	as, bs := byRole(a), byRole(b)
	roles := slices.Compact(slices.Sorted(maps.Keys(as)))
	for _, r := range slices.Sorted(maps.Keys(bs)) {
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	var out []Condition
	for _, r := range roles {
		if x, y := len(as[r]), len(bs[r]); x != y {
			out = append(out, Condition{What: "number of " + r + " nodes", Base: strconv.Itoa(x), Other: strconv.Itoa(y)})
		}
	}
	for _, fact := range []struct {
		name string
		of   func(store.NodeEnvironment) string
	}{
		{"CPU model", func(n store.NodeEnvironment) string { return n.CPUModel }},
		{"CPUs", func(n store.NodeEnvironment) string { return strconv.Itoa(n.CPUs) }},
		{"architecture", func(n store.NodeEnvironment) string { return n.Arch }},
		{"hypervisor", func(n store.NodeEnvironment) string { return n.Virtual }},
		{"kernel", func(n store.NodeEnvironment) string { return n.Kernel }},
		{"system", func(n store.NodeEnvironment) string { return n.OS }},
	} {
		out = append(out, byRoles(fact.name, roles, func(r string) (string, string, bool) {
			x, y := distinct(as[r], fact.of), distinct(bs[r], fact.of)
			return x, y, x != y
		})...)
	}
	return append(out, byRoles("memory", roles, func(r string) (string, string, bool) {
		x, y := memory(as[r]), memory(bs[r])
		return x.String(), y.String(), !near(x.least, y.least, memoryTolerance) || !near(x.most, y.most, memoryTolerance)
	})...)
}

// byRoles makes one condition of all roles that differ in the same way. Roles
// that only one run has are left out: their number says so.
func byRoles(name string, roles []string, compare func(role string) (base, other string, differ bool)) []Condition {
	var out []Condition
	for _, r := range roles {
		x, y, differ := compare(r)
		if !differ || x == unset || y == unset {
			continue
		}
		i := slices.IndexFunc(out, func(c Condition) bool { return c.Base == x && c.Other == y })
		if i < 0 {
			out = append(out, Condition{What: name, Base: x, Other: y})
			i = len(out) - 1
		}
		out[i].Where = append(out[i].Where, r+" nodes")
	}
	return out
}

// distinct are the values of a fact among nodes.
func distinct(nodes []store.NodeEnvironment, of func(store.NodeEnvironment) string) string {
	var all []string
	for _, n := range nodes {
		v := clean(strings.TrimSpace(of(n)))
		if v == "" {
			v = "none"
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return unset
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// span is a least and a most.
type span struct{ least, most float64 }

func memory(nodes []store.NodeEnvironment) span {
	s := span{math.Inf(1), math.Inf(-1)}
	for _, n := range nodes {
		v := float64(n.MemoryTotal)
		s.least, s.most = min(s.least, v), max(s.most, v)
	}
	return s
}

func (s span) String() string {
	gib := func(v float64) string { return strconv.FormatFloat(v/(1<<30), 'f', 1, 64) }
	switch {
	case s.least > s.most:
		return unset
	case gib(s.least) == gib(s.most):
		return gib(s.least) + " GiB"
	}
	return gib(s.least) + " to " + gib(s.most) + " GiB"
}

// near says whether two numbers differ by no more than a part of the larger.
func near(a, b, part float64) bool {
	return a == b || math.Abs(a-b) <= part*max(math.Abs(a), math.Abs(b))
}

// lengths compares the measured windows of matched cells.
func lengths(m measure.Matching) []Condition {
	var out gathered
	for _, p := range m.Pairs {
		a, b := measured(p.Base), measured(p.Other)
		if a == nil || b == nil || near(a.Value, b.Value, lengthTolerance) {
			continue
		}
		out.add(Condition{What: "measured_s", Base: number(&a.Value), Other: number(&b.Value), Refuse: true}, pairName(p, m))
	}
	return out.conditions(len(m.Pairs))
}

func measured(k measure.Combination) *measure.Median {
	var seconds []float64
	for _, c := range k.Cells {
		if c.MeasuredSeconds > 0 {
			seconds = append(seconds, c.MeasuredSeconds)
		}
	}
	return measure.MedianOf(seconds)
}

// gathered are conditions of cells, each kept once with where it holds.
type gathered []Condition

func (g *gathered) add(c Condition, where string) {
	i := slices.IndexFunc(*g, func(d Condition) bool { return d.What == c.What && d.Base == c.Base && d.Other == c.Other })
	if i < 0 {
		*g = append(*g, c)
		i = len(*g) - 1
	}
	(*g)[i].Where = append((*g)[i].Where, where)
}

// conditions are those gathered; what holds in all cells needs no list of them.
func (g gathered) conditions(pairs int) []Condition {
	for i := range g {
		if len(g[i].Where) == pairs {
			g[i].Where = nil
		}
	}
	return g
}

func pairName(p measure.Pair, m measure.Matching) string {
	name := place(p.Base, func(n string) bool { return slices.Contains(m.Shared, n) })
	for _, k := range []measure.Combination{p.Base, p.Other} {
		if own := place(k, func(n string) bool { return !slices.Contains(m.Shared, n) }); own != "" {
			name += " " + own
		}
	}
	return strings.TrimSpace(name)
}

// settings are what a plan says of a cell: dotted names, and values as text.
type settings map[string]string

// settingsOfPairs compares what the plans say of matched cells. What varies
// along a dimension that only one run has is the thing compared, not a condition.
func settingsOfPairs(base, other Side, m measure.Matching) []Condition {
	if base.settings == nil || other.settings == nil {
		return nil
	}
	compared := union(alongOwn(base, m.Shared), alongOwn(other, m.Shared))
	var out gathered
	for _, p := range m.Pairs {
		a, b := base.settings[p.Base.Number], other.settings[p.Other.Number]
		for _, name := range slices.Sorted(maps.Keys(union(a, b))) {
			if _, ok := compared[name]; ok || a[name] == b[name] {
				continue
			}
			x, y := clip(a[name], b[name])
			out.add(Condition{What: name, Base: x, Other: y, Refuse: isLoad(name)}, pairName(p, m))
		}
	}
	return out.conditions(len(m.Pairs))
}

// isLoad says whether a setting decides what load the platform gets; with
// another load a cell answers another question. Settings of devices count as
// load unless they are known to be none.
func isLoad(name string) bool {
	switch name {
	case "devices.via", "devices.qos", "devices.topic", "devices.ramp", "devices.late", "devices.spread":
		return false
	case "customers.count", "customers.receive":
		return true
	}
	return strings.HasPrefix(name, "devices.")
}

func union(a, b settings) settings {
	out := maps.Clone(a)
	if out == nil {
		out = settings{}
	}
	maps.Copy(out, b)
	return out
}

// alongOwn are the settings that vary among a run's cells of the same place in
// the shared dimensions.
func alongOwn(s Side, shared []string) settings {
	vary := settings{}
	first := map[string]settings{}
	for _, k := range s.Combinations {
		at := place(k, func(n string) bool { return slices.Contains(shared, n) })
		mine := s.settings[k.Number]
		one, ok := first[at]
		if !ok {
			first[at] = mine
			continue
		}
		for name := range union(one, mine) {
			if one[name] != mine[name] {
				vary[name] = ""
			}
		}
	}
	return vary
}

// clip shortens two values for a line, to where they begin to differ.
func clip(a, b string) (string, string) {
	const most, context = 48, 12
	x, y := []rune(a), []rune(b)
	from := 0
	for from < len(x) && from < len(y) && x[from] == y[from] {
		from++
	}
	from = max(0, from-context)
	if len(x) <= most && len(y) <= most {
		from = 0
	}
	part := func(v []rune) string {
		if len(v) == 0 {
			return unset
		}
		v, before, after := v[min(from, len(v)):], "", ""
		if from > 0 {
			before = "…"
		}
		if len(v) > most {
			v, after = v[:most], "…"
		}
		return before + string(v) + after
	}
	return part(x), part(y)
}

// readSettings reads what plan.json says of each cell, by its number. It takes
// whatever settings a plan has, so that a comparison misses none.
func readSettings(plan json.RawMessage) (map[int]settings, error) {
	var p struct {
		Cells []map[string]any `json:"cells"`
	}
	if err := json.Unmarshal(plan, &p); err != nil {
		return nil, err
	}
	out := map[int]settings{}
	for i, c := range p.Cells {
		number, ok := c["cell"].(float64)
		if !ok {
			return nil, fmt.Errorf("its %d. cell has no number", i+1)
		}
		if out[int(number)] != nil {
			continue // another repetition
		}
		s := settings{}
		for _, part := range []string{"devices", "customers", "phases"} {
			m, _ := c[part].(map[string]any)
			s.take(part, m)
		}
		for list, what := range map[string]string{"components": "component ", "faults": "fault "} {
			blocks, _ := c[list].([]any)
			for _, k := range blocks {
				m, _ := k.(map[string]any)
				s.take(what+text(m["name"]), m)
			}
		}
		out[int(number)] = s
	}
	return out, nil
}

// take adds the settings of one block. Names and ports that do not touch what
// is measured are left out; where instances and shares are is one setting.
func (s settings) take(block string, m map[string]any) {
	for name, v := range m {
		key := block + "." + name
		switch name {
		case "name", "group", "port":
		case "measure": // judged by what was measured
		case "shares":
			s.set(block+".spread", spread(v, "count"))
		case "instances":
			list, _ := v.([]any)
			s.set(key, strconv.Itoa(len(list)))
			s.set(block+".nodes", spread(v, ""))
		default:
			s.add(key, name, v)
		}
	}
}

func (s settings) add(key, name string, v any) {
	if inner, ok := v.(map[string]any); ok {
		for k, v := range inner {
			s.add(key+"."+k, k, v)
		}
		return
	}
	if ns, ok := v.(float64); ok && isDuration(name) {
		s.set(key, time.Duration(ns).String())
		return
	}
	s.set(key, text(v))
}

// set leaves out what is empty: it is the same as not being there.
func (s settings) set(key, v string) {
	if v != "" {
		s[key] = v
	}
}

// isDuration names the settings that a plan holds in nanoseconds.
func isDuration(name string) bool {
	switch name {
	case "warmup", "drain", "ready", "connect", "collect", "ramp", "late", "on", "off", "timeout", "stop_timeout", "at", "for", "delay", "jitter":
		return true
	}
	return false
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = text(x)
		}
		return strings.Join(parts, " ")
	case map[string]any:
		b, err := json.Marshal(v)
		if err != nil { // cannot be: it was decoded from JSON
			return fmt.Sprint(v)
		}
		return string(b)
	}
	return store.FormatValue(v)
}

// spread says how much of something is on which node.
func spread(v any, count string) string {
	list, _ := v.([]any)
	on := map[string]float64{}
	for _, x := range list {
		m, _ := x.(map[string]any)
		n, ok := m[count].(float64)
		if !ok {
			n = 1
		}
		on[text(m["node"])] += n
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(on)) {
		parts = append(parts, node+"×"+store.FormatValue(on[node]))
	}
	return strings.Join(parts, " ")
}
