package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"bela/event"
	"bela/live"
)

//go:embed page
var page embed.FS

// Bounds of the server. A browser takes one connection for the events and a few
// for the page.
const (
	maxConnections = 128
	headerLimit    = 5 * time.Second
	idleLimit      = time.Minute
	maxHeader      = 16 << 10
)

// Options tune a server. The zero value is fit for use, and read-only.
type Options struct {
	// Control is what the page's buttons act on; nil for none.
	Control live.Control
	// Token is what a visitor must show to step in; empty for a page that only
	// shows. It has at least MinToken characters.
	Token string
	// MaxClients is how many browsers may follow at a time; 0 is 32.
	MaxClients int
	// WriteTimeout is how long a browser may take nothing before it is cut off; 0
	// is 10 s.
	WriteTimeout time.Duration
	// CloseTimeout is how long Close waits for browsers to take the end of the
	// run; 0 is 3 s.
	CloseTimeout time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.MaxClients <= 0 {
		o.MaxClients = 32
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = 3 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Server serves one run's page.
type Server struct {
	opts     Options
	hub      *hub
	listener net.Listener
	http     *http.Server
	guard    *guard
	served   chan struct{} // closed when the server has ended
	once     sync.Once
	err      error
}

// Listen begins to serve on an address such as 127.0.0.1:8080, and nowhere else.
// The address names its host: what is served to whole networks is so on purpose.
// The caller must call Close.
func Listen(ctx context.Context, address string, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no address to serve on: write it as 127.0.0.1:8080", address)
	case host == "":
		return nil, fmt.Errorf("%q names no host: 127.0.0.1%s serves this machine alone, 0.0.0.0%s every network that reaches it", address, address, address)
	case opts.Token != "" && len(opts.Token) < MinToken:
		return nil, fmt.Errorf("the token has %d characters, and needs at least %d", len(opts.Token), MinToken)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the run's page: %w", err)
	}
	s := &Server{opts: opts, hub: newHub(opts.Now), listener: l, guard: &guard{host: host, token: opts.Token}, served: make(chan struct{})}
	if opts.Control == nil {
		s.guard.token = ""
	}
	s.hub.control = s.guard.token != ""
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerLimit, IdleTimeout: idleLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: quiet(), // strangers' broken requests must not write into the dashboard
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			s.hub.end()
		}
	}()
	go s.hub.run()
	return s, nil
}

// URL is where the page is.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/" }

// Handle takes the next event. It waits for no browser.
func (s *Server) Handle(e event.Event) { s.hub.handle(e) }

// Close tells browsers that the run is over and ends the server, in at most
// Options.CloseTimeout. Further calls return the same error.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.hub.end()
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.CloseTimeout)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			s.err = s.http.Close() // some browser does not read: it is cut off
		}
		<-s.served
	})
	return s.err
}

func (s *Server) handler() http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /state", s.state)
	mux.Handle("POST /control/{action}", s.guard.owner(http.HandlerFunc(s.step)))
	return s.guard.wrap(http.NewCrossOriginProtection().Handler(mux))
}
