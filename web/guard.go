package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// MinToken is the least number of characters of a token.
const MinToken = 16

// Wrong tokens that are answered in a minute; the others are refused unread, so
// that a token cannot be guessed.
const maxWrong = 10

// guard decides who is answered.
type guard struct {
	host  string // of the address that is served
	token string // empty: nobody may step in

	mu    sync.Mutex
	wrong int
	since time.Time
}

// wrap answers only those who asked for this server by an address or by its own
// name. A stranger's page that has its name point here (DNS rebinding) asks by
// that name.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !g.knows(r.Host) {
			http.Error(w, "this server is asked for by its address, or as localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows says whether a Host header can be meant for this server.
func (g *guard) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || host == strings.ToLower(g.host) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// owner lets only those through who show the token. It travels in a header that
// no other site's page can have a browser send.
func (g *guard) owner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case g.token == "":
			http.Error(w, "this page only shows the run: start it with a token to step in", http.StatusForbidden)
		case g.guessing():
			w.Header().Set("Retry-After", "60")
			http.Error(w, "too many wrong tokens: try again in a minute", http.StatusTooManyRequests)
		case !g.right(r):
			http.Error(w, "the token is wrong", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// guessing says that too many wrong tokens came in the last minute.
func (g *guard) guessing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.since) > time.Minute {
		g.wrong, g.since = 0, time.Now()
	}
	return g.wrong >= maxWrong
}

// right compares in a time that tells nothing of the token.
func (g *guard) right(r *http.Request) bool {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(shown)), sha256.Sum256([]byte(g.token))
	if ok && subtle.ConstantTimeCompare(a[:], b[:]) == 1 {
		return true
	}
	g.mu.Lock()
	g.wrong++
	g.mu.Unlock()
	return false
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
