package influx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	err := w.post(ctx, newPacker().pack([]byte("# bela\n")))
	var refused *refusal
	if err == nil || errors.As(err, &refused) && refused.empty() {
		return nil
	}
	return w.describe(err, batch{})
}

// empty says that all that is wrong is that there was no point in the request:
// InfluxDB 3 looks for one, after the token and the bucket.
func (r *refusal) empty() bool {
	return r.status == http.StatusBadRequest && strings.Contains(r.message, "write was empty")
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
