package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"

	"bela/store"
)

//go:embed report.html.tmpl
var page string

// HTML writes the report as one file that needs no other: it can be read
// offline, by light or by dark.
func HTML(w io.Writer, run *store.Reader, o Options) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	d := newDocument(run, o)
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		document
		Tables  []table
		Colours []string
	}{d, d.tables(), []string{"c0", "c1", "c2", "c3", "c4", "c5"}})
	if err != nil {
		return fmt.Errorf("report of %s: %w", run.Dir, err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// WriteHTML writes report.html into the run directory and returns its path.
func WriteHTML(run *store.Reader, o Options) (string, error) {
	var b bytes.Buffer
	if err := HTML(&b, run, o); err != nil {
		return "", err
	}
	path := filepath.Join(run.Dir, "report.html")
	if err := store.WriteFile(path, b.Bytes()); err != nil {
		return "", fmt.Errorf("report of %s: %w", run.Dir, err)
	}
	return path, nil
}
