package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"bela/event"
)

// The formats of the body.
const (
	JSON = "json" // Message
	Text = "text" // {"text": "…"}, which chat services take
)

// SignatureHeader carries "sha256=" and the HMAC-SHA256 of the body, in
// hexadecimal digits, where there is a signing key.
const SignatureHeader = "X-Bela-Signature"

// Bounds. A message is tried for about a minute in all.
const (
	mostWaiting = 64
	tryTimeout  = 10 * time.Second
	mostRetries = 5
	leastWait   = time.Second
	mostWait    = 20 * time.Second
)

// Config says whom to tell, and of what.
type Config struct {
	URL    string // http or https; never shown as a whole
	On     []string
	Format string // JSON or Text
	// Token goes into the Authorization header as a bearer; empty is none.
	Token string
	// SigningKey signs the body; empty is no signature.
	SigningKey string
	// Version goes into the User-Agent header.
	Version string
}

// Notifier posts messages. It is a sink of events: Handle never waits.
type Notifier struct {
	cfg    Config
	host   string
	client *retryablehttp.Client
	run    event.RunStarted

	waiting chan Message
	done    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc

	// Written by the posting goroutine alone, read after done.
	failed int
	err    error // the first failure
	// Written by Handle alone, read after done.
	left int
}

// New returns a Notifier that posts in the background until Close.
func New(cfg Config) (*Notifier, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("notify: the URL is not one: set it to an http:// or https:// address")
	}
	client := retryablehttp.NewClient()
	client.Logger = nil // it would log the URL
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = mostRetries, leastWait, mostWait
	client.HTTPClient.Timeout = tryTimeout
	// A redirect would carry the token to another host.
	client.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	n := &Notifier{cfg: cfg, host: u.Host, client: client, waiting: make(chan Message, mostWaiting), done: make(chan struct{})}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go n.post()
	return n, nil
}

// Handle queues what is worth telling. Where too much waits it is counted, and
// Close says so.
func (n *Notifier) Handle(e event.Event) {
	if started, ok := e.Data.(event.RunStarted); ok {
		n.run = started
		return
	}
	m, ok := about(n.run, e)
	if !ok || !slices.Contains(n.cfg.On, m.Kind) {
		return
	}
	select {
	case n.waiting <- m:
	default:
		n.left++
	}
}

// Close waits for what is on its way, for as long as ctx allows, and returns
// what did not arrive. Handle must not be called any more.
func (n *Notifier) Close(ctx context.Context) error {
	close(n.waiting)
	select {
	case <-n.done:
	case <-ctx.Done():
		n.cancel()
		<-n.done
	}
	n.cancel()
	if n.failed+n.left == 0 {
		return nil
	}
	if n.err == nil {
		n.err = fmt.Errorf("more than %d were waiting", mostWaiting)
	}
	return fmt.Errorf("notify %s: %d of its messages did not arrive: %w", n.host, n.failed+n.left, n.err)
}

// post sends what is queued, one after another.
func (n *Notifier) post() {
	defer close(n.done)
	for m := range n.waiting {
		if err := n.send(m); err != nil {
			n.failed++
			if n.err == nil {
				n.err = err
			}
		}
	}
}

func (n *Notifier) send(m Message) error {
	body, err := m.body(n.cfg.Format)
	if err != nil {
		return err
	}
	req, err := retryablehttp.NewRequestWithContext(n.ctx, http.MethodPost, n.cfg.URL, body)
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "bela/"+n.cfg.Version)
	if n.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+n.cfg.Token)
	}
	if n.cfg.SigningKey != "" {
		mac := hmac.New(sha256.New, []byte(n.cfg.SigningKey))
		mac.Write(body)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	res, err := n.client.Do(req)
	if err != nil && n.ctx.Err() != nil {
		return errors.New("the run was over before it answered")
	}
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s", res.Status)
	}
	return nil
}

// withoutURL is an error of the client without the address, which may be a
// secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
