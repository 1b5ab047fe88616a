package provision

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"

	"bela/provision/agentbin"
)

// How a program travels.
const (
	wayPlain = "plain"
	wayGzip  = "gzip"
	wayZstd  = "zstd"
	wayFed   = "fed"
)

// cargo is a program in memory, once for all nodes that get it.
type cargo struct {
	program agentbin.Program
	bin     agentbin.Binary
	load    func() ([]byte, error)
	zip     func() ([]byte, error)
	zstd    func() ([]byte, error)
}

func newCargo(p agentbin.Program, bin agentbin.Binary) *cargo {
	c := &cargo{program: p, bin: bin}
	c.load = sync.OnceValues(func() ([]byte, error) {
		text, err := readAll(bin.Open, bin.Size)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != bin.SHA256 {
			return nil, fmt.Errorf("%s that this controller carries has SHA-256 %x instead of %s", p.Noun(), sum, bin.SHA256)
		}
		return text, nil
	})
	c.zip = sync.OnceValues(func() ([]byte, error) {
		text, err := c.load()
		if err != nil {
			return nil, err
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, 6)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(text); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		return packed.Bytes(), nil
	})
	c.zstd = sync.OnceValues(func() ([]byte, error) { return readAll(bin.OpenPacked, bin.Size) })
	return c
}

// as gives the bytes to send for a way. The first who asks has them made, which on
// a busy controller takes its time: what is begun is ended for those who come later,
// but nobody waits longer than his ctx.
func (c *cargo) as(ctx context.Context, way string) ([]byte, error) {
	prepare := c.load
	switch way {
	case wayGzip:
		prepare = c.zip
	case wayZstd:
		prepare = c.zstd
	}
	var text []byte
	var err error
	prepared := make(chan struct{})
	go func() {
		defer close(prepared)
		text, err = prepare()
	}()
	select {
	case <-prepared:
		return text, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// readAll reads what is at most limit bytes long.
func readAll(open func() (io.ReadCloser, error), limit int64) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	b.Grow(int(limit) + bytes.MinRead)
	if _, err := io.Copy(&b, io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// slowLink is the rate, in bytes a second, below which unpacking costs less than
// it saves whatever the node: gzip unpacks some 30 MB/s on a small ARM board and
// 120 MB/s on a server, and makes a program two and a half times smaller.
const slowLink = 12 << 20

// choose says how to send, by the rate that was measured to this node and what
// it can unpack.
func choose(rate float64, packed bool, has []string) string {
	gzip, zstd := false, false
	for _, tool := range has {
		gzip = gzip || tool == wayGzip
		zstd = zstd || tool == wayZstd
	}
	switch {
	case rate >= slowLink:
		return wayPlain
	case packed && zstd:
		return wayZstd
	case gzip:
		return wayGzip
	}
	return wayPlain
}
