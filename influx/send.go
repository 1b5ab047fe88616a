package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout    = 3 * time.Second
	requestTimeout = 30 * time.Second

	// Waits between attempts double from the first to the longest, each drawn
	// from its upper half.
	firstBackoff   = 250 * time.Millisecond
	longestBackoff = 5 * time.Second
	// longestRetryAfter bounds what a server may ask for.
	longestRetryAfter = time.Minute
	// closedBackoff is the wait where the server takes nothing from us at all: the
	// token, the bucket or the address is wrong, and somebody has to put it right.
	closedBackoff = 30 * time.Second

	// mostHalvings bounds the requests that look for the lines that a server
	// refuses, of one batch.
	mostHalvings = 64
)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxIdleConns:           inFlight + 1,
		MaxIdleConnsPerHost:    inFlight + 1,
		IdleConnTimeout:        90 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// target is the server and the bucket. It prints without its token.
type target struct {
	base   *url.URL
	org    string
	bucket string
	token  string
}

func newTarget(cfg Config) (target, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		// The parse error quotes the URL, which may hold a password.
		return target{}, errors.New(`influxdb: url is not a URL: write it as "http://host:8086"`)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return target{}, errors.New(`influxdb: url is not an http or https URL: write it as "http://host:8086"`)
	case u.User != nil:
		return target{}, errors.New("influxdb: url holds credentials: put them into token (InfluxDB 1.8: \"user:password\")")
	case u.RawQuery != "" || u.Fragment != "":
		return target{}, errors.New("influxdb: url holds a query: org and bucket have settings of their own")
	case cfg.Bucket == "":
		return target{}, errors.New("influxdb: bucket is missing")
	case strings.ContainsAny(cfg.Token, "\r\n"):
		return target{}, errors.New("influxdb: token holds a line break")
	}
	return target{base: u, org: cfg.Org, bucket: cfg.Bucket, token: cfg.Token}, nil
}

// String names the server and the bucket.
func (t target) String() string {
	return "influxdb " + t.base.String() + " bucket " + strconv.Quote(t.bucket)
}

// GoString hides the token from %#v.
func (t target) GoString() string { return t.String() }

func (t target) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	u := t.base.JoinPath(path)
	if method == http.MethodPost {
		u.RawQuery = url.Values{"org": {t.org}, "bucket": {t.bucket}, "precision": {"ns"}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if t.token != "" {
		req.Header.Set("Authorization", "Token "+t.token)
	}
	req.Header.Set("User-Agent", "bela")
	return req, nil
}

// packer zips batches.
type packer struct {
	packed bytes.Buffer
	zip    *gzip.Writer
}

func newPacker() *packer {
	p := new(packer)
	var err error
	if p.zip, err = gzip.NewWriterLevel(&p.packed, gzip.BestSpeed); err != nil {
		panic(err) // the level is a constant
	}
	return p
}

// pack is valid until the next one.
func (p *packer) pack(body []byte) []byte {
	p.packed.Reset()
	p.zip.Reset(&p.packed)
	// Writing to memory cannot fail.
	_, _ = p.zip.Write(body)
	_ = p.zip.Close()
	return p.packed.Bytes()
}

// work delivers batch after batch until the writer closes. A batch given up
// stays booked as under way, for nobody knows whether the last attempt arrived.
func (w *Writer) work() {
	p := newPacker()
	for {
		b, ok := w.next()
		if !ok {
			return
		}
		halvings := mostHalvings
		if failed, ok := w.deliver(p, b, &halvings); ok {
			w.settle(b, failed)
		}
	}
}

// deliver sends a batch, or a part of one, until the server has taken or refused
// it, and counts the lines that it refused; ok is false where Close gave up.
func (w *Writer) deliver(p *packer, b batch, halvings *int) (failed int, ok bool) {
	refused := w.insist(p.pack(b.body), b)
	switch {
	case w.ctx.Err() != nil:
		return 0, false
	case refused == nil:
		w.trouble.delivered()
		return 0, true
	case refused.dropped < 0 && b.lines > 1 && *halvings >= 2:
		// It took nothing of it: look for what it refuses.
		*halvings -= 2
		for _, half := range b.halves() {
			n, ok := w.deliver(p, half, halvings)
			if !ok {
				return 0, false
			}
			failed += n
		}
		return failed, true
	}
	w.trouble.report(refused.key(), w.describe(refused, b))
	return refused.failed(b.lines), true
}

// halves cuts a batch of several lines in two.
func (b batch) halves() [2]batch {
	n, at := b.lines/2, 0
	for range n {
		at += bytes.IndexByte(b.body[at:], '\n') + 1
	}
	return [2]batch{{body: b.body[:at], lines: n}, {body: b.body[at:], lines: b.lines - n}}
}

// insist makes a request until the server has taken it, which is nil, or has
// refused its points, or Close gives up.
func (w *Writer) insist(packed []byte, b batch) *refusal {
	wait := firstBackoff
	for {
		err := w.post(w.ctx, packed)
		if err == nil {
			return nil
		}
		if w.ctx.Err() != nil {
			if w.trouble.last() == nil {
				w.trouble.setLast(fmt.Errorf("%s: the time to send the last points ran out", w.target))
			}
			return nil
		}
		var refused *refusal
		errors.As(err, &refused)
		if refused != nil && refused.ofPoints() {
			return refused
		}
		w.trouble.report(troubleKey(err), fmt.Errorf("%w; trying again", w.describe(err, b)))
		if refused != nil && !refused.transient() {
			if w.hurried() {
				w.cancel() // nobody will put it right in the time that Close has
				return nil
			}
			refused.retryAfter = closedBackoff
		}
		w.sleep(wait, refused)
		wait = min(2*wait, longestBackoff)
	}
}

// hurried says that the writer is closing.
func (w *Writer) hurried() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// sleep waits before the next attempt: what the server asked for, or else the
// backoff. Close cuts a wait short, once.
func (w *Writer) sleep(wait time.Duration, refused *refusal) {
	wait = wait/2 + rand.N(wait/2+1)
	closing := w.closing
	switch {
	case w.hurried():
		// Try often, the deadline is Close's.
		wait = min(wait, firstBackoff)
		closing = nil
	case refused != nil && refused.retryAfter > 0:
		wait = refused.retryAfter
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-closing:
	case <-w.ctx.Done():
	}
}

// post makes one write request; its error is nil, a *refusal, or why there was
// no answer.
func (w *Writer) post(ctx context.Context, packed []byte) error {
	req, err := w.target.request(ctx, http.MethodPost, "api/v2/write", packed)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Content-Encoding", "gzip")
	return w.do(req)
}

func (w *Writer) do(req *http.Request) error {
	resp, err := w.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the URL is named already
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end or is too long
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return newRefusal(resp.StatusCode, resp.Header, body, w.target.token)
}

// describe says what happened to a batch, to whom, and what to do.
func (w *Writer) describe(err error, b batch) error {
	var refused *refusal
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s: no answer: %w: is it running, and reachable from here?", w.target, noAnswer(err))
	}
	if text, ok := refused.offending(b); ok {
		return fmt.Errorf("%s: %w: the line is %q", w.target, refused, text)
	}
	if next := refused.next(); next != "" {
		return fmt.Errorf("%s: %w: %s", w.target, refused, next)
	}
	return fmt.Errorf("%s: %w", w.target, refused)
}

// noAnswer words a timeout; the standard text speaks of Client.Timeout.
func noAnswer(err error) error {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("timed out: %w", context.DeadlineExceeded)
	}
	return err
}

// troubleKey is the kind of a failed attempt.
func troubleKey(err error) string {
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.key()
	}
	return "no answer"
}
