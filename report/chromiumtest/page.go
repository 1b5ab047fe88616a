package chromiumtest

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// run takes a step on the page, within its limit.
func run[T any](t testing.TB, p *Page, what string, step chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	out, err := chromedp.Run(ctx, step)
	if err != nil {
		t.Fatalf("chromium: %s: %v\nproblems of the page: %q", what, err, p.Problems())
	}
	return out
}

// Eval is what a JavaScript expression comes to on the page.
func Eval[T any](t testing.TB, p *Page, expression string) T {
	t.Helper()
	return run(t, p, expression, chromedp.Evaluate[T](expression))
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(t testing.TB, expression string) {
	t.Helper()
	run(t, p, "waiting for "+expression, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(stepLimit)))
}

// Click clicks the first element that a CSS selector finds.
func (p *Page) Click(t testing.TB, selector string) {
	t.Helper()
	run(t, p, "clicking "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Text is what a reader sees of the first element that a CSS selector finds.
func (p *Page) Text(t testing.TB, selector string) string {
	t.Helper()
	return run(t, p, "text of "+selector, chromedp.Text(chromedp.CSS(selector)))
}

// sticksOut lists elements that reach beyond the window, where the page has to
// be scrolled sideways for them. What scrolls in a box of its own does not count.
const sticksOut = `(() => {
	const root = document.scrollingElement, wide = root.clientWidth;
	if (root.scrollWidth <= wide) return [];
	const inBox = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
		if (getComputedStyle(p).overflowX !== 'visible') return true; return false; };
	const found = [...document.body.querySelectorAll('*')]
		.filter(e => e.getBoundingClientRect().right > wide + 0.5 && !inBox(e))
		.map(e => e.tagName.toLowerCase() + '.' + (e.getAttribute('class') || '') + ' to ' + Math.round(e.getBoundingClientRect().right) + ': ' + e.textContent.trim().slice(0, 40));
	return found.length ? found.slice(0, 8) : ['the page is ' + root.scrollWidth + ' wide'];
})()`

// SticksOut names what makes the page wider than its window; empty where all fits.
func (p *Page) SticksOut(t testing.TB) []string {
	t.Helper()
	return Eval[[]string](t, p, sticksOut)
}

// Screenshot is the whole page as PNG. With BELA_SCREENSHOTS=DIR it is kept
// there under the name, for somebody to look at.
func (p *Page) Screenshot(t testing.TB, name string) []byte {
	t.Helper()
	b := run(t, p, "screenshot", chromedp.FullScreenshot(100))
	keep(t, name+".png", b)
	return b
}

// PDF prints the page on A4 as its style sheet wants it, and is the file and how
// many sheets it has.
func (p *Page) PDF(t testing.TB, name string) (file []byte, sheets int) {
	t.Helper()
	b := run(t, p, "printing", chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4), chromedp.PDFPreferCSSPageSize()))
	keep(t, name+".pdf", b)
	return b, len(regexp.MustCompile(`/Type\s*/Page[^s]`).FindAll(b, -1))
}

func keep(t testing.TB, name string, b []byte) {
	t.Helper()
	dir := os.Getenv("BELA_SCREENSHOTS")
	if dir == "" {
		return
	}
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, name)
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
