package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bela/influx/influxtest"
)

// dashboard is what the tests read of one of Grafana's.
type dashboard struct {
	UID           string           `json:"uid"`
	Title         string           `json:"title"`
	SchemaVersion int              `json:"schemaVersion"`
	Panels        []dashboardPanel `json:"panels"`
	Templating    struct {
		List []struct {
			Name, Type, Query, AllValue string
			Multi, IncludeAll           bool
			Datasource                  datasource
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name       string
			BuiltIn    int
			Query      string
			Datasource datasource
			TextColumn string
			TagsColumn string
			Target     struct{ Query string }
		} `json:"list"`
	} `json:"annotations"`
	Links []struct{ URL string } `json:"links"`
}

type datasource struct{ Type, UID string }

type dashboardPanel struct {
	ID         int
	Type       string
	Title      string
	Datasource datasource
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		RefID, Query, Alias, ResultFormat string
		RawQuery                          bool
		Datasource                        datasource
	}
}

// readDashboards reads those that bela brings.
func readDashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob("../../grafana/dashboards/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("dashboards: %v, %v", files, err)
	}
	all := make(map[string]dashboard)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = d
	}
	return all
}

// asked is one question of a dashboard to InfluxDB.
type asked struct{ where, query string }

// queries are all that a dashboard asks.
func (d dashboard) queries() (all []asked) {
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			all = append(all, asked{"variable " + v.Name, v.Query})
		}
	}
	for _, a := range d.Annotations.List {
		if a.BuiltIn == 0 {
			all = append(all, asked{"annotation " + a.Name, a.Query})
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, asked{"panel " + p.Title + " " + target.RefID, target.Query})
		}
	}
	return all
}

// Grafana shows a dashboard that is not formed as it wants as a heap of errors,
// or not at all.
func TestDashboardsAreWellFormed(t *testing.T) {
	ours := datasource{"influxdb", "${datasource}"}
	for name, d := range readDashboards(t) {
		t.Run(name, func(t *testing.T) {
			if d.UID != name || d.Title == "" || d.SchemaVersion < 36 {
				t.Errorf("uid %q, title %q, schema version %d", d.UID, d.Title, d.SchemaVersion)
			}
			taken := make(map[[2]int]string)
			ids := make(map[int]bool)
			for _, p := range d.Panels {
				if p.ID == 0 || ids[p.ID] || p.Title == "" {
					t.Errorf("panel %q has the number %d, twice or none", p.Title, p.ID)
				}
				ids[p.ID] = true
				for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
					for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
						if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
							t.Fatalf("panel %q lies over %q, or out of the grid", p.Title, other)
						}
						taken[[2]int{x, y}] = p.Title
					}
				}
				if p.Type == "row" {
					continue
				}
				if !slices.Contains([]string{"timeseries", "stat", "table"}, p.Type) || p.Datasource != ours || len(p.Targets) == 0 {
					t.Errorf("panel %q: type %q, data source %v, %d queries", p.Title, p.Type, p.Datasource, len(p.Targets))
				}
				for _, target := range p.Targets {
					if want := map[bool]string{true: "table", false: "time_series"}[p.Type == "table"]; target.ResultFormat != want || !target.RawQuery || target.Datasource != ours {
						t.Errorf("panel %q, query %s: format %q, raw %v, data source %v", p.Title, target.RefID, target.ResultFormat, target.RawQuery, target.Datasource)
					}
					for _, m := range regexp.MustCompile(`\$tag_(\w+)`).FindAllStringSubmatch(target.Alias, -1) {
						if _, by, _ := strings.Cut(target.Query[strings.LastIndex(target.Query, "GROUP BY"):], "GROUP BY"); !strings.Contains(by, `"`+m[1]+`"`) {
							t.Errorf("panel %q names series by %s and does not group by it", p.Title, m[1])
						}
					}
				}
			}
			var variables []string
			for _, v := range d.Templating.List {
				variables = append(variables, v.Name)
				if v.Type == "query" && (v.Datasource != ours || v.Multi != v.IncludeAll || v.Multi != (v.AllValue == ".*")) {
					t.Errorf("variable %+v", v)
				}
			}
			if !slices.Equal(variables, []string{"datasource", "experiment", "run", "cell"}) {
				t.Errorf("variables %v", variables)
			}
			for _, a := range d.Annotations.List {
				if a.BuiltIn == 0 && (a.Datasource != ours || a.Query != a.Target.Query || a.TextColumn == "" || a.TagsColumn == "") {
					t.Errorf("annotation %+v", a)
				}
			}
			for _, l := range d.Links {
				to, _, _ := strings.Cut(strings.TrimPrefix(l.URL, "/d/"), "?")
				if _, ok := readDashboards(t)[to]; !ok {
					t.Errorf("the link %s leads nowhere", l.URL)
				}
			}
		})
	}
}

// schema reads docs/influxdb.md: the names that each measurement has. A test of
// the encoder holds that page to what is sent.
func schema(t *testing.T) map[string][]string {
	t.Helper()
	names := make(map[string][]string)
	current := ""
	for line := range strings.Lines(page(t, "docs/influxdb.md")) {
		if m := regexp.MustCompile(`^### (\w+)\n`).FindStringSubmatch(line); m != nil {
			current = m[1]
		} else if m := regexp.MustCompile("^\\| `(\\w+)` \\|").FindStringSubmatch(line); m != nil {
			names[current] = append(names[current], m[1])
		}
	}
	return names
}

// A field that is not there is an empty graph, for ever and without an error.
func TestDashboardsKnowTheSchema(t *testing.T) {
	known := schema(t)
	from := regexp.MustCompile(`FROM "(\w+)"`)
	for name, d := range readDashboards(t) {
		for _, q := range d.queries() {
			measurements := from.FindAllStringSubmatch(q.query, -1)
			if len(measurements) != 1 || known[measurements[0][1]] == nil {
				t.Errorf("%s, %s: no known measurement: %s", name, q.where, q.query)
				continue
			}
			measurement := measurements[0][1]
			own := slices.Clone(known[measurement]) // and the names that the query gives itself
			for _, m := range regexp.MustCompile(`AS "(\w+)"`).FindAllStringSubmatch(q.query, -1) {
				own = append(own, m[1])
			}
			for _, m := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(from.ReplaceAllString(q.query, ""), -1) {
				if !slices.Contains(own, m[1]) {
					t.Errorf("%s, %s: %s has no %q: %s", name, q.where, measurement, m[1], q.query)
				}
			}
		}
	}
}

// filled puts values for a query's variables and macros, as Grafana does.
func filled(query string, values map[string]string) string {
	for _, name := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { return len(b) - len(a) }) {
		query = strings.ReplaceAll(query, "$"+name, values[name])
	}
	return query
}

// Every query of every dashboard must be answered, with numbers in it, by a real
// InfluxDB that has a whole run.
func TestDashboardsOfAWholeRun(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, false, "bela")
	dir := t.TempDir()
	cmd := belaCommand(t, dir, "run", withInflux(t, dir, "grafana.hcl", db.URL), "-view", "plain")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	assertStatus(t, dir, cmd.ProcessState.ExitCode(), string(out))
	assertStored(t, dir, db)
	run, err := filepath.EvalSymlinks(filepath.Join(dir, "results", "latest"))
	if err != nil {
		t.Fatal(err)
	}
	first, last := span(t, points(t, dir))
	for name, d := range readDashboards(t) {
		for i, values := range []map[string]string{
			{"cell": ".*", "__interval": "1s"},
			{"cell": "(1|2)", "__interval": "10s"},
			{"cell": "2", "__interval": "2s"},
		} {
			values["experiment"], values["run"] = "grafana", filepath.Base(run)
			values["timeFilter"] = fmt.Sprintf("time >= %dms and time <= %dms", first/1e6-1000, last/1e6+1000)
			for _, q := range d.queries() {
				query := filled(q.query, values)
				if left := regexp.MustCompile(`\$\w+`).FindString(query); left != "" {
					t.Errorf("%s, %s: nobody fills in %s", name, q.where, left)
				}
				rows, err := db.Rows(t, "bela", query)
				if err != nil {
					t.Errorf("%s, %s: %v: %s", name, q.where, err, query)
					continue
				}
				for _, column := range empty(rows) {
					t.Errorf("%s, %s, filled %d: nothing in column %q of %d rows: %s", name, q.where, i, column, len(rows), query)
				}
				if t.Failed() && len(rows) == 0 {
					t.Logf("%s", out)
					t.FailNow()
				}
			}
		}
	}
}

// empty are the columns without a value in any row. A cell that is simply valid
// has no reason.
func empty(rows []influxtest.Row) []string {
	if len(rows) == 0 {
		return []string{"all"}
	}
	var columns []string
	for column := range rows[0].Values {
		has := func(r influxtest.Row) bool { return r.Values[column] != nil }
		if column != "reason" && !slices.ContainsFunc(rows, has) {
			columns = append(columns, column)
		}
	}
	return columns
}

// span is the time of the first and of the last point.
func span(t *testing.T, lines []byte) (first, last int64) {
	t.Helper()
	for _, p := range influxtest.Parse(t, lines) {
		if first == 0 || p.Time < first {
			first = p.Time
		}
		last = max(last, p.Time)
	}
	return first, last
}

// The files by which Grafana finds the database and the dashboards must name
// what bela writes, and no secret.
func TestGrafanaProvisioning(t *testing.T) {
	source, provider := page(t, "grafana/provisioning/datasources/bela.yaml"), page(t, "grafana/provisioning/dashboards/bela.yaml")
	for _, want := range []string{"type: influxdb", "version: InfluxQL", "url: $INFLUX_URL", "dbName: $INFLUX_BUCKET", "Token $INFLUX_TOKEN"} {
		if !strings.Contains(source, want) {
			t.Errorf("the data source lacks %q", want)
		}
	}
	path := regexp.MustCompile(`path: (\S+)`).FindStringSubmatch(provider)
	if path == nil || !bytes.Contains([]byte(page(t, "docs/influxdb.md")), []byte(path[1])) {
		t.Errorf("docs/influxdb.md does not say what goes to %v", path)
	}
}
