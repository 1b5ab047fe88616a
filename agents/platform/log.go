package platform

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// redactor keeps the run's password out of the log, whatever library logs it.
type redactor struct {
	mu     sync.Mutex
	w      io.Writer
	secret string
}

func (r *redactor) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := b
	if r.secret != "" {
		out = bytes.ReplaceAll(b, []byte(r.secret), []byte("(secret)"))
	}
	if _, err := r.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// dropPackets leaves whole packets out of the log: they are long, and a CONNECT
// packet holds the password.
func dropPackets(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "pk" || a.Key == "packet" {
		return slog.Attr{}
	}
	return a
}

// natsLog hands a NATS server's log to slog.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(f string, v ...any) { l.log.Info(fmt.Sprintf(f, v...)) }
func (l natsLog) Warnf(f string, v ...any)   { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l natsLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l natsLog) Errorf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l natsLog) Debugf(string, ...any)      {}
func (l natsLog) Tracef(string, ...any)      {}
