package influx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxAnswer   = 64 << 10 // bytes read of a server's answer
	maxMessage  = 300      // bytes of its message that are shown
	maxOffender = 200      // bytes of an offending line that are shown
)

// refusal is an answer other than success.
type refusal struct {
	status     int
	message    string // the server's, one line, bounded, without the token
	retryAfter time.Duration
	line       int // the offending line of the batch, from 1; 0 where the server does not say
	dropped    int // of a partial write: the lines not taken; -1 where nothing was
}

// answer is the body of an error of InfluxDB 2 (message, line) or 1.8 (error).
type answer struct {
	Message string `json:"message"`
	Error   string `json:"error"`
	Line    int    `json:"line"`
}

func newRefusal(status int, header http.Header, body []byte, token string) *refusal {
	r := &refusal{status: status, retryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	var a answer
	text := string(body)
	if json.Unmarshal(body, &a) == nil && (a.Message != "" || a.Error != "") {
		text = a.Message
		if text == "" {
			text = a.Error
		}
		r.line = a.Line
	}
	r.dropped = partialWrite(text)
	r.message = presentable(text, token)
	return r
}

// presentable makes a server's text fit for an error: no token, no control
// characters, bounded.
func presentable(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "(secret)")
	}
	if _, password, ok := strings.Cut(token, ":"); ok && password != "" {
		text = strings.ReplaceAll(text, password, "(secret)")
	}
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(text) > maxMessage {
		text = cut(text, maxMessage) + "…"
	}
	return text
}

var droppedCount = regexp.MustCompile(`dropped=(\d{1,9})\s*$`)

// partialWrite reads how many lines of a batch were not taken from a message
// that says that the others were: "partial write: … dropped=3". It is -1 for
// any other message.
func partialWrite(text string) int {
	if !strings.Contains(text, "partial write:") {
		return -1
	}
	n := 0
	if m := droppedCount.FindStringSubmatch(text); m != nil {
		n, _ = strconv.Atoi(m[1]) // at most nine digits
	}
	// Lines that did not parse are listed, not counted.
	return n + strings.Count(text, "unable to parse ")
}

// retryAfter reads the header, which is seconds or a date; 0 where it is absent
// or makes no sense.
func retryAfter(header string, now time.Time) time.Duration {
	var d time.Duration
	if s, err := strconv.ParseFloat(header, 64); err == nil && s >= 0 {
		if s >= longestRetryAfter.Seconds() {
			return longestRetryAfter
		}
		d = time.Duration(s * float64(time.Second))
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), longestRetryAfter)
}

// Error gives the status and the server's words.
func (r *refusal) Error() string {
	status := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if r.message == "" {
		return status
	}
	return status + ": " + r.message
}

// transient says that the same request may succeed later.
func (r *refusal) transient() bool {
	return r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500
}

// failed is how many of a batch's lines were refused.
func (r *refusal) failed(lines int) int {
	if r.dropped < 0 {
		return lines
	}
	return min(r.dropped, lines)
}

func (r *refusal) key() string { return strconv.Itoa(r.status) }

// next is the next step.
func (r *refusal) next() string {
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return "check token, and that it may write to the bucket"
	case r.status == http.StatusNotFound:
		return "check bucket, org and url"
	case r.status/100 == 3:
		return "it redirects: give the final address as url"
	}
	return ""
}

// offending returns the line of the batch that the server named, bounded.
func (r *refusal) offending(body []byte) (string, bool) {
	if r.line < 1 {
		return "", false
	}
	n := 0
	for l := range bytes.Lines(body) {
		if n++; n == r.line {
			text := strings.TrimSuffix(string(l), "\n")
			if len(text) > maxOffender {
				text = cut(text, maxOffender) + "…"
			}
			return text, true
		}
	}
	return "", false
}
