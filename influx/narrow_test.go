package influx

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bela/influx/influxtest"
)

// narrow is a way to a server that lets through so many bytes a second, for all
// connections together, and counts them.
type narrow struct {
	address string
	up      atomic.Int64
}

func startNarrow(t testing.TB, server string, bytesPerSecond int) *narrow {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	room := make(chan struct{}) // leave for 1024 bytes
	tick := time.NewTicker(1024 * time.Second / time.Duration(bytesPerSecond))
	t.Cleanup(tick.Stop)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-tick.C:
				select {
				case room <- struct{}{}:
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	}()
	n := &narrow{address: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { // answers are short
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}()
			go func() {
				defer out.Close()
				b := make([]byte, 1024)
				for {
					select {
					case <-room:
					case <-done:
						return
					}
					k, err := in.Read(b)
					n.up.Add(int64(k))
					if _, w := out.Write(b[:k]); w != nil || err != nil {
						return
					}
				}
			}()
		}
	}()
	return n
}

// A database behind a link that carries 20 kB/s must not hold up the run, and
// must get every point, none of them twice because a request took its time.
func testNarrowLink(t *testing.T, db *influxtest.Server) {
	db.Create(t, "narrow")
	link := startNarrow(t, strings.TrimPrefix(db.URL, "http://"), 20_000)
	said := newTroubles()
	w := mustWriter(t, Config{URL: "http://" + link.address, Bucket: "narrow", Trouble: said.record})
	random := rand.New(rand.NewPCG(5, 6))
	var all []byte
	longest := time.Duration(0)
	const points = 6000 // which do not compress well: about 80 kB
	for i := range points {
		line := fmt.Appendf(nil, "m,node=n%d v=%d %d\n", i%7, random.Int64N(1e12), int64(1764300000000000000)+int64(i))
		all = append(all, line...)
		began := time.Now()
		give(t, w, line)
		longest = max(longest, time.Since(began))
	}
	if longest > 5*time.Second { // at 20 kB/s the whole takes about as long
		t.Errorf("giving a line took %v", longest)
	}
	wantStats(t, closeIn(t, w, 2*time.Minute), points, 0, 0)
	influxtest.Same(t, db.Stored(t, "narrow"), influxtest.Values(influxtest.Parse(t, all)))
	if s := said.all(); len(s) > 0 {
		t.Errorf("it said %v, want nothing: it is slow, and works", s)
	}
	if once := len(bytes.TrimSpace(all)); link.up.Load() > int64(once) { // packed it is less than half
		t.Errorf("%d bytes went over the link for %d of lines: some went twice", link.up.Load(), once)
	}
	t.Logf("%d bytes of lines as %d on the link", len(all), link.up.Load())
}
