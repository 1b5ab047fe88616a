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

// work delivers batch after batch until the writer closes.
func (w *Writer) work() {
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	for {
		b, ok := w.next()
		if !ok {
			return
		}
		packed.Reset()
		zip.Reset(&packed)
		// Writing to memory cannot fail.
		_, _ = zip.Write(b.body)
		_ = zip.Close()
		w.deliver(b, packed.Bytes())
	}
}

// deliver sends one batch until the server takes or refuses it, or Close gives
// up. A batch given up stays booked as under way, for nobody knows whether the
// last attempt arrived.
func (w *Writer) deliver(b batch, packed []byte) {
	wait := firstBackoff
	for {
		err := w.post(w.ctx, packed)
		if err == nil {
			w.settle(b.lines, 0)
			w.trouble.delivered()
			return
		}
		if w.ctx.Err() != nil {
			if w.trouble.last() == nil {
				w.trouble.setLast(fmt.Errorf("%s: the time to send the last points ran out", w.target))
			}
			return
		}
		var refused *refusal
		if errors.As(err, &refused) && !refused.transient() {
			failed := refused.failed(b.lines)
			w.settle(b.lines-failed, failed)
			w.trouble.report(refused.key(), w.describe(refused, b))
			return
		}
		w.trouble.report(troubleKey(err), fmt.Errorf("%w; trying again", w.describe(err, b)))
		w.sleep(wait, refused)
		wait = min(2*wait, longestBackoff)
	}
}

// sleep waits before the next attempt: what the server asked for, or else the
// backoff. Close cuts a wait short, once.
func (w *Writer) sleep(wait time.Duration, refused *refusal) {
	wait = wait/2 + rand.N(wait/2+1)
	closing := w.closing
	select {
	case <-w.closing:
		// Already closing: try often, the deadline is Close's.
		wait = min(wait, firstBackoff)
		closing = nil
	default:
		if refused != nil && refused.retryAfter > 0 {
			wait = refused.retryAfter
		}
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
	if text, ok := refused.offending(b.body); ok {
		return fmt.Errorf("%s: %w: line %d is %q", w.target, refused, refused.line, text)
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
