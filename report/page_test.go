package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/report/chromiumtest"
	"bela/store"
)

// inBrowser opens a page as a reader does, in every way that they do: on a
// phone, on a desk, by light and by dark, and printed. It must show without an
// error, ask nothing of anybody, and never have to be scrolled sideways.
func inBrowser(t *testing.T, name string, write func(io.Writer) error, sheets int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".html")
	f, err := os.Create(path)
	must(t, err)
	must(t, write(f))
	must(t, f.Close())
	b := chromiumtest.Start(t)
	dark, phone := chromiumtest.Desktop, chromiumtest.Phone
	dark.Dark, phone.NoScript = true, false
	for _, v := range []chromiumtest.View{chromiumtest.Desktop, dark, phone} {
		p := b.Open(t, chromiumtest.File(t, path), v)
		p.Wait(t, `document.readyState == "complete"`)
		if v != dark {
			chromiumtest.Eval[int](t, p, `(document.querySelectorAll("details").forEach(d => d.open = true), 0)`)
		}
		if found := p.Problems(); len(found) > 0 {
			t.Errorf("%s at %+v: %q", name, v, found)
		}
		if asked := p.Requests(); len(asked) != 1 {
			t.Errorf("%s at %+v asked for %q", name, v, asked)
		}
		if out := p.SticksOut(t); len(out) > 0 {
			t.Errorf("%s at %+v sticks out: %q", name, v, out)
		}
		if n := chromiumtest.Eval[int](t, p, `document.scripts.length + document.querySelectorAll("[onclick],[onload],[onerror],a[href],iframe,img,object").length`); n != 0 {
			t.Errorf("%s holds %d things that run, load or lead away", name, n)
		}
		if n := chromiumtest.Eval[int](t, p, `[...document.querySelectorAll("svg[role=img]")].filter(s => !s.querySelector("title") || !s.querySelector("desc")).length
			+ [...document.querySelectorAll("table")].filter(t => !t.caption).length`); n != 0 {
			t.Errorf("%s has %d pictures or tables without a name", name, n)
		}
		if n := chromiumtest.Eval[int](t, p, `[...document.querySelectorAll("svg.chart")].filter(s => !s.querySelector("path.l:not(.grid), circle")).length`); n != 0 {
			t.Errorf("%s has %d charts without a line", name, n)
		}
		p.Screenshot(t, fmt.Sprintf("%s-%d-dark=%v", name, v.Width, v.Dark))
		if v == chromiumtest.Desktop {
			if _, n := p.PDF(t, name); n < 1 || n > sheets {
				t.Errorf("%s is printed on %d sheets, want at most %d", name, n, sheets)
			}
		}
		if bright := chromiumtest.Eval[float64](t, p, `getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765`); (bright < 0.5) != v.Dark {
			t.Errorf("%s at %+v: its background is %.2f bright", name, v, bright)
		}
	}
}

// What a customer gets must look right wherever they open it.
func TestReportInBrowser(t *testing.T) {
	t.Parallel()
	run := fixture{repetitions: 2, devices: []float64{1, 100, 500, 1000}, missing: 2, finished: true, hostile: hostile}.store(t)
	if dir := os.Getenv("BELA_REPORT_OF"); dir != "" {
		run = opened(t, dir)
	}
	inBrowser(t, "report", func(w io.Writer) error { return HTML(w, run, Options{}) }, 12)
}

// A run whose files were damaged in the middle still has a report; it says what
// it could not draw. One that still goes on says that it does.
func TestReportOfDamagedRun(t *testing.T) {
	t.Parallel()
	run := fixture{repetitions: 1, devices: []float64{1, 100}, missing: 1}.store(t)
	run.Running = true
	must(t, os.WriteFile(filepath.Join(run.CellDir(1), "series.csv"), []byte("cell,\"<script>"), 0o644))
	must(t, os.WriteFile(filepath.Join(run.CellDir(1), "latency.hist"), []byte("\x00\xff broken"), 0o644))
	var out bytes.Buffer
	must(t, HTML(&out, run, Options{}))
	for _, want := range []string{"not drawn: ", "series.csv", "still going on", "Not measured"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(out.String(), "<script") {
		t.Error("the page holds foreign markup")
	}
}

// A comparison is shown to those who were not there: the same must hold of it.
// The change that was planted must be on the page.
func TestComparisonInBrowser(t *testing.T) {
	t.Parallel()
	a, b := ordinary("a").side(t), planted().side(t)
	b.Name += hostile
	c := compared(t, a, b, DefaultMetrics()...)
	var out bytes.Buffer
	must(t, CompareHTML(&out, []Comparison{c}))
	if strings.Contains(out.String(), "<script") || strings.ContainsAny(out.String(), "\x1b\r\u202e") {
		t.Error("the page holds foreign markup or control characters")
	}
	if !strings.Contains(out.String(), "higher: worse") || strings.Count(out.String(), `<svg class="chart"`) < 3 {
		t.Error("the page does not show what was planted")
	}
	inBrowser(t, "comparison", func(w io.Writer) error { return CompareHTML(w, []Comparison{c}) }, 12)
}

func opened(t testing.TB, dir string) *store.Reader {
	t.Helper()
	run, err := store.Open(dir, "")
	must(t, err)
	return run
}
