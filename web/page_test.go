package web_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
	"bela/report/chromiumtest"
	"bela/web"
)

// cutter is a wire between browser and server that can be cut.
type cutter struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, to: to}
	t.Cleanup(func() { _ = l.Close(); c.cut() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, near, far)
			c.mu.Unlock()
			go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		}
	}()
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// What the team sees at their desks: live numbers that are the events', on a phone
// and on a wide screen, again after the connection was cut, and no more than that
// without the token.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	browser := chromiumtest.Start(t)
	control, e := new(web.Stepper), web.NewTeller()
	s, err := web.Listen(t.Context(), "127.0.0.1:0", web.Options{Control: control, Token: web.TestToken, Now: e.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	e.To(s)
	e.Begin()
	second := 0
	advance := func(n int) {
		for range n {
			e.Pass(time.Second)
			e.Second(second)
			second++
		}
	}
	advance(90)
	shows := func(p *chromiumtest.Page) {
		t.Helper()
		p.Wait(t, fmt.Sprintf("document.getElementById('load-text').dataset.second == %d", second-1))
		if got, want := p.Text(t, "#published-total"), fmt.Sprint(100*second); strings.ReplaceAll(got, "\u202f", "") != want {
			t.Errorf("published %s, the events say %s", got, want)
		}
		if got, want := p.Text(t, "#delivered-total"), fmt.Sprint(99*second); strings.ReplaceAll(got, "\u202f", "") != want {
			t.Errorf("delivered %s, the events say %s", got, want)
		}
	}
	wire := newCutter(t, strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/"))
	address := "http://" + wire.l.Addr().String() + "/"
	desktop := browser.Open(t, address, chromiumtest.Desktop)
	phone := browser.Open(t, address, chromiumtest.View{Width: chromiumtest.Phone.Width, Height: chromiumtest.Phone.Height, Dark: true})
	for name, p := range map[string]*chromiumtest.Page{"desktop": desktop, "phone": phone} {
		shows(p)
		advance(3)
		shows(p)
		if got := p.SticksOut(t); len(got) > 0 {
			t.Errorf("%s: wider than the window: %q", name, got)
		}
		if got := p.Problems(); len(got) > 0 {
			t.Errorf("%s: problems: %q", name, got)
		}
		for _, r := range p.Requests() {
			if !strings.HasPrefix(r, address) {
				t.Errorf("%s: it asks for %s", name, r)
			}
		}
		p.Screenshot(t, "web-"+name)
	}
	look(t, desktop)
	wire.cut()
	advance(1)
	shows(desktop)
	if n := chromiumtest.Eval[int](t, desktop, "document.querySelectorAll('#messages li').length"); n > 60 {
		t.Errorf("%d messages after the page came back: they stand there twice", n)
	}
	stepIn(t, desktop)
	if got := control.List(); !strings.HasPrefix(got, "skip 2 by the operator, on the web page") {
		t.Errorf("asked of the run: %q", got)
	}
	e.Tell(event.RunFinished{Status: 4, Reason: "1 cell missing", Valid: 1, Missing: 5})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	desktop.Wait(t, "document.getElementById('finished').textContent.includes('1 cell missing') && document.getElementById('link').textContent == 'over'")
}

// look holds what stands on the page against what was told.
func look(t *testing.T, p *chromiumtest.Page) {
	t.Helper()
	for selector, want := range map[string]string{
		"#experiment": "qos <img src=x", "#times": "1 of 6 cells done", "#cell-label": "devices=100", "#phases .now": "measure",
		"#matrix td.valid": "12.5 ms", "#matrix td.running": "▸", "#nodes tr:first-child": "link lost: nothing heard", "#faults": "slow iot-3: delay 50ms",
		"#nodes-text": "24 of 25 ready", "#components-text": "6 of 6 ready", "#slowest": "sends", "#messages": "cannot keep up", "#p50": "ms",
	} {
		if got := p.Text(t, selector); !strings.Contains(got, want) {
			t.Errorf("%s shows %q, want %q", selector, got, want)
		}
	}
	if n := chromiumtest.Eval[int](t, p, "document.images.length"); n != 0 {
		t.Errorf("what a node wrote became %d pictures", n)
	}
	if n := chromiumtest.Eval[int](t, p, "(() => { const c = document.getElementById('heat'); return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v > 0).length })()"); n < 200 {
		t.Errorf("the heat strip has %d painted fields", n)
	}
	chromiumtest.Eval[bool](t, p, "(() => { const f = document.getElementById('filter'); f.value = 'CANNOT up'; f.dispatchEvent(new Event('input')); return true })()")
	p.Wait(t, "document.querySelectorAll('#messages li').length == 1")
	chromiumtest.Eval[bool](t, p, "(() => { const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input')); return true })()")
}

// stepIn skips the cell: a wrong token first, then the right one.
func stepIn(t *testing.T, p *chromiumtest.Page) {
	t.Helper()
	enter := func(token string) {
		chromiumtest.Eval[bool](t, p, fmt.Sprintf("(() => { document.getElementById('token').value = %q; document.getElementById('token-form').requestSubmit(); return true })()", token))
	}
	p.Click(t, "#unlock")
	enter("not the token of it")
	p.Wait(t, "document.getElementById('answer').textContent.includes('wrong')")
	enter(web.TestToken)
	p.Wait(t, "!document.getElementById('actions').hidden")
	p.Click(t, "#skip")
	p.Wait(t, "document.getElementById('question').textContent.startsWith('Skip cell 2')")
	p.Click(t, "#yes")
	p.Wait(t, "document.getElementById('answer').textContent == 'cell 2 is given up'")
}

// If this failed, an operator of a large campaign would have to search hundreds of
// cells for the one that runs, or would find the machines far below the matrix.
func TestLargeMatrixInABrowser(t *testing.T) {
	t.Parallel()
	browser := chromiumtest.Start(t)
	e := web.NewTeller()
	s, err := web.Listen(t.Context(), "127.0.0.1:0", web.Options{Now: e.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	e.To(s)
	const across, down, running = 40, 12, 300
	started := event.RunStarted{Run: "20201114T100000Z-3f9a", Experiment: "large", Directory: "results/x", Dimensions: []string{"devices", "delay"}}
	for i := range across * down {
		started.Cells = append(started.Cells, event.CellRef{Position: i + 1, Number: i + 1, Repetition: 1, Attempt: 1, Expected: time.Minute, Dimensions: []measure.Dimension{
			{Name: "devices", Value: float64(100 * (i/down + 1))}, {Name: "delay", Value: fmt.Sprintf("%dms", i%down)},
		}})
	}
	for i := range 60 {
		started.Nodes = append(started.Nodes, event.NodeRef{Name: fmt.Sprintf("iot-%d", i+1), Role: "iot", Address: "10.2.0.1:22"})
	}
	e.Tell(started)
	p99 := 12.5
	for i := range running {
		e.Tell(event.CellStarted{Cell: started.Cells[i]})
		if i+1 < running {
			e.Tell(event.CellFinished{Cell: started.Cells[i], Result: measure.Cell{Verdict: measure.Valid, Latency: measure.Quantiles{P99: &p99}}})
		}
	}
	for name, view := range map[string]chromiumtest.View{"desktop": chromiumtest.Desktop, "phone": chromiumtest.Phone} {
		p := browser.Open(t, s.URL(), view)
		p.Wait(t, "document.querySelector('#matrix td.running')")
		if n := chromiumtest.Eval[int](t, p, "document.querySelectorAll('#matrix td').length"); n != across*down {
			t.Errorf("%s: %d cells on the page, want %d", name, n, across*down)
		}
		p.Wait(t, `(() => {
			const box = document.querySelector('#matrix').parentElement.getBoundingClientRect(), cell = document.querySelector('#matrix td.running').getBoundingClientRect();
			return cell.top >= box.top && cell.bottom <= box.bottom && cell.left >= box.left && cell.right <= box.right;
		})()`)
		p.Wait(t, `[...document.querySelectorAll('#matrix td.running')].every(cell => { // what it stands for is beside it, not scrolled away
			const box = cell.closest('.scroll').getBoundingClientRect(), name = cell.parentElement.firstElementChild.getBoundingClientRect();
			return name.left > box.left - 2 && name.right < cell.getBoundingClientRect().left + 2;
		})`)
		for _, section := range []string{"#matrix-section", "#nodes"} {
			if tall := chromiumtest.Eval[float64](t, p, fmt.Sprintf("document.querySelector('%s').closest('section').offsetHeight / innerHeight", section)); tall > 1 {
				t.Errorf("%s: %s takes %.1f windows", name, section, tall)
			}
		}
		if got := p.SticksOut(t); len(got) > 0 {
			t.Errorf("%s: wider than the window: %q", name, got)
		}
		p.Screenshot(t, "web-large-"+name)
	}
}
