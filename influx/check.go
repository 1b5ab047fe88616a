package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// checkTimeout bounds Check where ctx does not.
const checkTimeout = 5 * time.Second

// Check says at once whether points will be taken: that the server answers and
// is well, and that it takes a write to the bucket with the token. The write
// holds a comment and no point. Nothing is tried twice.
func (w *Writer) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := w.health(ctx); err != nil {
		return w.describe(err, batch{})
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	// Writing to memory cannot fail.
	_, _ = zip.Write([]byte("# bela\n"))
	_ = zip.Close()
	if err := w.post(ctx, packed.Bytes()); err != nil {
		return w.describe(err, batch{})
	}
	return nil
}

// health asks /health. Servers that speak InfluxDB's protocol need not have it,
// so that only a server error counts.
func (w *Writer) health(ctx context.Context) error {
	req, err := w.target.request(ctx, http.MethodGet, "health", nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	err = w.do(req)
	var refused *refusal
	if errors.As(err, &refused) && refused.status < 500 {
		return nil
	}
	return err
}
