package export

import (
	"os"
	"strings"
	"testing"
)

// A column that the documentation does not explain, or explains and is not
// there, is one that a user gets wrong.
func TestColumnsAreDocumented(t *testing.T) {
	pages := map[string]string{cellsTable: "metrics.md", componentsTable: "metrics.md", seriesTable: "metrics.md"}
	dimensions := map[string]bool{"devices": true, "codec": true, "durable": true}
	for _, table := range tables(t, run(t, 1)) {
		page, head := "results.md", "### "+table.Name+"\n"
		if pages[table.Name] != "" {
			page, head = pages[table.Name], "## "+table.Name+".csv"
		}
		b, err := os.ReadFile("../docs/" + page)
		must(t, err)
		_, section, ok := strings.Cut(string(b), head)
		if !ok {
			t.Fatalf("docs/%s has no section %q", page, head)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		section, _, _ = strings.Cut(section, "\n### ")
		documented := map[string]bool{}
		columns := false // inside of a table of columns
		for line := range strings.Lines(section) {
			columns = strings.HasPrefix(line, "| column ") || columns && strings.HasPrefix(line, "|")
			if cells := strings.Split(line, "|"); columns && len(cells) > 3 {
				for i, name := range strings.Split(cells[1], "`") {
					if i%2 == 1 {
						documented[name] = true
					}
				}
			}
		}
		for _, c := range table.Columns {
			if !documented[c.Name] && !dimensions[c.Name] {
				t.Errorf("docs/%s does not explain %s of %s", page, c.Name, table.Name)
			}
			delete(documented, c.Name)
		}
		for name := range documented {
			t.Errorf("docs/%s explains %s, which %s does not have", page, name, table.Name)
		}
	}
}
