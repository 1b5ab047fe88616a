package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bela/event"
	"bela/report/chromiumtest"
	"bela/store"
)

// The team follows a run in a browser: what the page shows while it goes on must be
// what the run wrote down, and a cell that is skipped there must be missing, with
// the status that says so.
func TestRunOnAPage(t *testing.T) {
	needAgents(t)
	t.Parallel()
	browser := chromiumtest.Start(t)
	dir := t.TempDir()
	const token = "a-token-for-the-page"
	secret := filepath.Join(dir, "token")
	if err := os.WriteFile(secret, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := belaCommand(t, dir, "run", shipped(t, "quick.hcl"), "-var", "measure=60s", "-view", "json", "-web", address, "-web-token-file", secret)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitPage(t, "http://"+address+"/state")
	p := browser.Open(t, "http://"+address+"/", chromiumtest.Desktop)
	p.Wait(t, "document.getElementById('load-text').dataset.second >= 2")
	type shown struct {
		Second           int
		Published, Nodes string
	}
	saw := chromiumtest.Eval[shown](t, p, `({Second: +document.getElementById('load-text').dataset.second,
		Published: document.getElementById('published-total').textContent, Nodes: document.getElementById('nodes-text').textContent})`)
	if got := p.Problems(); len(got) > 0 {
		t.Errorf("problems of the page: %q", got)
	}
	if status := post(t, "http://"+address+"/control/skip", "no token at all", `{"position": 1}`); status != http.StatusForbidden {
		t.Errorf("skipping without the token: status %d", status)
	}
	if status := post(t, "http://"+address+"/control/skip", token, `{"position": 1}`); status != http.StatusNoContent {
		t.Errorf("skipping with the token: status %d", status)
	}
	_ = cmd.Wait()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != 4 || strings.Contains(string(text), token) {
		t.Errorf("status %d, want 4, and no token in\n%s", got, text)
	}
	run, err := store.Open("latest", filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	totals, skipped := map[int]int64{}, false
	err = run.Events(func(e event.Event) {
		switch d := e.Data.(type) {
		case event.Load:
			totals[d.T] = d.PublishedTotal
		case event.CellSkipped:
			skipped = strings.Contains(d.By, "web page from 127.0.0.1")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(saw.Published, "\u202f", ""); got != fmt.Sprint(totals[saw.Second]) || saw.Nodes != "4 of 4 ready" {
		t.Errorf("the page showed %+v, the events say %d published by then", saw, totals[saw.Second])
	}
	if !skipped || len(run.Cells) != 0 || len(run.Missing()) != 1 {
		t.Errorf("skipped in the events: %v; %d results, %d missing", skipped, len(run.Cells), len(run.Missing()))
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// awaitPage waits until the page is served and knows of the run.
func awaitPage(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, err := fetch(t, url)
		var f struct{ Set map[string]json.RawMessage }
		if err == nil && json.Unmarshal([]byte(text), &f) == nil && strings.Contains(string(f.Set["run"]), `"experiment":"quick"`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page was not served within a minute: %v: %.200s", err, text)
		}
	}
}

func fetch(t *testing.T, url string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	return string(text), errors.Join(err, answer.Body.Close())
}

func post(t *testing.T, url, token, body string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}
