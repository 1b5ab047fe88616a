package meter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"bela/agents/protocol"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 16 << 20

// web asks over HTTP, with one connection that is kept.
type web struct {
	base           string
	user, password string
	client         *http.Client
}

func newWeb(spec protocol.MeterSpec) (*web, error) {
	u, err := url.Parse(spec.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("metrics: %q is no address: it looks like http://127.0.0.1:8222", spec.URL)
	}
	return &web{base: strings.TrimRight(spec.URL, "/"), user: spec.User, password: spec.Password, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10},
		// What an answer leads to is not what the experiment named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get hands f the body of the answer.
func (w *web) get(ctx context.Context, path string, header http.Header, f func(io.Reader) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if w.user != "" {
		r.SetBasicAuth(w.user, w.password)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the address is told already
		}
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", answer.Status)
	}
	body := &io.LimitedReader{R: answer.Body, N: maxAnswer + 1}
	err = f(body)
	if body.N <= 0 { // f has not seen all of it
		return fmt.Errorf("the answer is above %d MiB", maxAnswer>>20)
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, body) // so that the connection can be used again
	return nil
}

func (w *web) json(ctx context.Context, path string, to any) error {
	return w.get(ctx, path, nil, func(r io.Reader) error {
		if err := json.NewDecoder(r).Decode(to); err != nil {
			return fmt.Errorf("the answer makes no sense: %w", err)
		}
		return nil
	})
}

func (w *web) close() { w.client.CloseIdleConnections() }
