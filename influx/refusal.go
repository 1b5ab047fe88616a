package influx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
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

// answer is the body of an error of InfluxDB 2 (message, line), 1.8 (error) or 3
// (error, data).
type answer struct {
	Message string          `json:"message"`
	Error   string          `json:"error"`
	Line    int             `json:"line"`
	Data    json.RawMessage `json:"data"`
}

// refusedLine is one that InfluxDB 3 did not take; it lists up to 100.
type refusedLine struct {
	Message string `json:"error_message"`
	Line    int    `json:"line_number"`
}

// refusedLines are those of an InfluxDB 3; none in any other answer.
func (a answer) refusedLines() []refusedLine {
	var all []refusedLine
	if json.Unmarshal(a.Data, &all) != nil {
		return nil
	}
	return all
}

func newRefusal(status int, header http.Header, body []byte, token string) *refusal {
	r := &refusal{status: status, dropped: -1, retryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	var a answer
	text := string(body)
	if json.Unmarshal(body, &a) == nil && (a.Message != "" || a.Error != "") {
		text = a.Message
		if text == "" {
			text = a.Error
		}
		r.line = a.Line
		if all := a.refusedLines(); len(all) > 0 {
			r.line, text = all[0].Line, text+": "+all[0].Message
			if strings.Contains(a.Error, "partial write") {
				r.dropped = len(all)
			}
		}
	}
	if r.dropped < 0 {
		r.dropped = partialWrite(text)
	}
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

// ofDisk says that the server could not write to its disk. InfluxDB 1.8 words that
// as a partial write with status 400, and tells it from one that the points are
// to blame for by nothing but the words of the system's error.
func (r *refusal) ofDisk() bool {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if strings.Contains(r.message, e.Error()) {
			return true
		}
	}
	return false
}

// transient says that the same request may succeed later.
func (r *refusal) transient() bool {
	return r.ofDisk() || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500
}

// ofPoints says that the points are refused, and not whoever sends them: sent
// again they would be refused again.
func (r *refusal) ofPoints() bool {
	if r.ofDisk() {
		return false
	}
	switch r.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
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
	case r.ofDisk():
		return "see to the server's disk, then start the server again"
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return "check token, and that it may write to the bucket"
	case r.status == http.StatusNotFound:
		return "check bucket, org and url"
	case r.status/100 == 3:
		return "it redirects: give the final address as url"
	}
	return ""
}

// fieldConflict is how InfluxDB 1.8 and 2 say that a field has another type
// already, without saying in which line.
var fieldConflict = regexp.MustCompile(`input field "([^"]+)" on measurement "([^"]+)" is type`)

// offending returns the line of the batch that the server refused, bounded,
// where it is known: the only one, the one that the server numbered, or the
// first that has the field that it named.
func (r *refusal) offending(b batch) (string, bool) {
	wanted := func(n int, _ []byte) bool { return n == r.line }
	switch m := fieldConflict.FindStringSubmatch(r.message); {
	case b.lines == 1:
		wanted = func(int, []byte) bool { return true }
	case m != nil:
		wanted = func(_ int, l []byte) bool {
			name, rest, _ := bytes.Cut(l, []byte{','})
			return string(name) == m[2] && (bytes.Contains(rest, []byte(" "+m[1]+"=")) || bytes.Contains(rest, []byte(","+m[1]+"=")))
		}
	}
	n := 0
	for l := range bytes.Lines(b.body) {
		if n++; wanted(n, l) {
			text := strings.TrimSuffix(string(l), "\n")
			if len(text) > maxOffender {
				text = cut(text, maxOffender) + "…"
			}
			return text, true
		}
	}
	return "", false
}
