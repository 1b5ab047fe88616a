// Package chromiumtest opens pages in a real Chromium, for tests of what people
// see in a browser: what is on the page, what it asks for, whether it fits. It
// knows no page of bela.
package chromiumtest

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	startLimit = 2 * time.Minute  // of a browser on a busy machine
	stepLimit  = 40 * time.Second // of a single step on a page
)

// Browser is one headless Chromium, for as many pages as a test opens.
type Browser struct{ ctx context.Context }

// Start starts a browser that ends with the test. Where there is no Chromium
// the test is left out; under CI, where there must be one, it fails.
func Start(t testing.TB) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("left out: pages in a real browser: chromium is missing (Debian: chromium)")
		}
		t.Skip("left out: pages in a real browser: chromium is missing (Debian: chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // root has none, and the pages are our own
		chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		ended, cut := context.WithTimeout(ctx, stepLimit)
		defer cut()
		if err := chromedp.Cancel(ended); err != nil {
			t.Logf("chromium did not end well: %v", err)
		}
		cancel()
		stop()
	})
	late := time.AfterFunc(startLimit, cancel)
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start within %s: %v", startLimit, err)
	}
	return &Browser{ctx: ctx}
}

// View is how a page is looked at.
type View struct {
	Width, Height int // in CSS pixels
	Dark          bool
	NoScript      bool
}

// The views that a page must fit.
var (
	Phone   = View{Width: 380, Height: 800}
	Desktop = View{Width: 1400, Height: 900}
)

// Page is a page in a tab of its own.
type Page struct {
	ctx context.Context

	mu       sync.Mutex
	requests []string
	problems []string
}

// File is the address of a file.
func File(t testing.TB, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "file", Path: absolute}).String()
}

// Open opens an address and waits until it has loaded. The page closes with the
// test.
func (b *Browser) Open(t testing.TB, address string, v View) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	p := &Page{ctx: ctx}
	late := time.AfterFunc(startLimit, cancel)
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium opens no tab: %v", err)
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	if err == nil {
		_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.NoScript})
	}
	if err == nil {
		err = chromedp.Do(ctx, chromedp.EmulateViewport(int64(v.Width), int64(v.Height)), chromedp.Navigate(address))
	}
	if err != nil {
		t.Fatalf("chromium opens %s: %v", address, err)
	}
	return p
}

// hear keeps what the page asked for and what was wrong with it.
func (p *Page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *network.EventLoadingFailed:
		p.problems = append(p.problems, "loading failed: "+e.ErrorText)
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.problems = append(p.problems, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, string(a.Value)+a.Description)
			}
			p.problems = append(p.problems, "console: "+strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.problems = append(p.problems, string(e.Entry.Source)+": "+e.Entry.Text)
		}
	}
}

// Problems are errors and warnings in the console, exceptions, and what was
// refused or did not load, so far.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.problems...)
}

// Requests are the addresses that the page has asked for, itself the first.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}
