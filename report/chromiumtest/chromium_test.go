package chromiumtest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A check that finds nothing wrong with a bad page would vouch for every page:
// here each fault is planted once, beside a page that has none.
func TestPlantedFaults(t *testing.T) {
	t.Parallel()
	b := Start(t)
	write := func(name, body string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("<!doctype html><title>x</title><body>"+body), 0o644); err != nil {
			t.Fatal(err)
		}
		return File(t, path)
	}
	const scrolls = `<div style="overflow-x:auto"><div style="width:3000px">in a box of its own</div></div>`

	good := b.Open(t, write("good.html", "<p id=here>well</p>"+scrolls), Phone)
	if got := good.SticksOut(t); len(got) != 0 {
		t.Errorf("a page that fits: %q", got)
	}
	if got := good.Problems(); got != nil {
		t.Errorf("a page without problems: %q", got)
	}
	if got := good.Requests(); len(got) != 1 || !strings.HasSuffix(got[0], "good.html") {
		t.Errorf("it asked for %q", got)
	}
	if got := good.Text(t, "#here"); got != "well" {
		t.Errorf("text %q", got)
	}

	wide := b.Open(t, write("wide.html", `<p class="w" style="width:900px">too wide</p>`), Phone)
	if got := wide.SticksOut(t); len(got) != 1 || !strings.Contains(got[0], "too wide") {
		t.Errorf("a page that does not fit: %q", got)
	}

	loud := b.Open(t, write("loud.html", `<img src="http://127.0.0.1:1/away.png"><script>console.error("planted", 7); throw new Error("thrown")</script>`), Desktop)
	loud.Wait(t, "document.readyState == 'complete'")
	for _, want := range []string{"planted", "thrown", "loading failed"} {
		if !slices.ContainsFunc(loud.Problems(), func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no problem with %q in %q", want, loud.Problems())
		}
	}
	if !slices.Contains(loud.Requests(), "http://127.0.0.1:1/away.png") {
		t.Errorf("the request that left is not among %q", loud.Requests())
	}
}

// The other conditions that a page is looked at under must reach it.
func TestViews(t *testing.T) {
	t.Parallel()
	b := Start(t)
	path := filepath.Join(t.TempDir(), "page.html")
	const page = `<!doctype html><title>x</title><style>@media print { p { break-after: page } }</style>
		<body><p id=a>one</p><p>two</p><button onclick="document.title='clicked'">b</button><script>document.getElementById('a').textContent='script'</script>`
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		view View
		text string
	}{{Phone, "script"}, {View{Width: 500, Height: 400, Dark: true}, "script"}, {View{Width: 500, Height: 400, NoScript: true}, "one"}} {
		p := b.Open(t, File(t, path), tt.view)
		if got := p.Text(t, "#a"); got != tt.text {
			t.Errorf("%+v: text %q, want %q", tt.view, got, tt.text)
		}
		if w := Eval[int](t, p, "innerWidth"); w != tt.view.Width {
			t.Errorf("%+v: the window is %d wide", tt.view, w)
		}
		if dark := Eval[bool](t, p, "matchMedia('(prefers-color-scheme: dark)').matches"); dark != tt.view.Dark {
			t.Errorf("%+v: dark %v", tt.view, dark)
		}
	}
	p := b.Open(t, File(t, path), Desktop)
	p.Click(t, "button")
	p.Wait(t, "document.title == 'clicked'")
	if _, sheets := p.PDF(t, "views"); sheets != 3 {
		t.Errorf("printed on %d sheets, want 3", sheets)
	}
	if !bytes.HasPrefix(p.Screenshot(t, "views"), []byte("\x89PNG")) {
		t.Error("a screenshot is no PNG")
	}
}
