// Package report is what a built-in component tells the agent that supervises
// it: JSON lines over a pipe. It exists so that the supervisor and the
// components agree on those lines without importing each other. It must not know
// what a component does.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bela/agents/protocol"
)

// FD is the file descriptor of the pipe's writing end in the component's process.
const FD = 3

// maxLine bounds a line that the supervisor reads.
const maxLine = 64 << 10

// writeTimeout bounds how long a component waits for a supervisor that does not
// read. Such a supervisor counts as gone.
const writeTimeout = 5 * time.Second

// ErrNoPipe means that the process was not started by a supervisor.
var ErrNoPipe = errors.New("file descriptor 3 is no pipe")

// Line is one line; exactly one of the pointers is set.
type Line struct {
	// Ready is sent once, when the component accepts work: it listens, and its
	// subscriptions are in place.
	Ready *Ready `json:"ready,omitempty"`
	// Counters are sent every Interval and once at the end.
	Counters *protocol.Counters `json:"counters,omitempty"`
	// Books answers BooksSignal: they lie in BooksFile, or could not be written.
	Books *Books `json:"books,omitempty"`
}

// Interval is how often a component tells its counters. They are read out once a
// second, and are never older than this: what they hold reaches nearly to the end of
// a cell whose last messages arrive at once.
const Interval = 250 * time.Millisecond

// BooksSignal asks a component for its books of single messages. They may have
// megabytes, so they are left in its working directory as BooksFile, a JSON
// array of measure.HopBook, before the line that tells of them.
const (
	BooksSignal = unix.SIGUSR1
	BooksFile   = "books.json"
)

// Books says that BooksFile is written.
type Books struct {
	Error string `json:"error,omitempty"` // why it is not
}

// Ready says where the component is reached.
type Ready struct {
	Address string `json:"address,omitempty"` // host:port; empty where it listens nowhere
}

// Writer sends lines. It is safe for several goroutines.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter sends lines to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// OpenPipe opens the pipe to the supervisor that file descriptor FD is. It
// returns ErrNoPipe where the descriptor is something else.
func OpenPipe() (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(FD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, ErrNoPipe
	}
	// Non-blocking, so that writes take a deadline.
	if err := unix.SetNonblock(FD, true); err != nil {
		return nil, fmt.Errorf("pipe to the supervisor: %w", err)
	}
	unix.CloseOnExec(FD)
	return os.NewFile(FD, "supervisor"), nil
}

// Write sends one line. An error means that the supervisor is gone.
func (w *Writer) Write(l Line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f, ok := w.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		// Files that take no deadline just block.
		_ = f.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if _, err := w.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("report to the supervisor: %w", err)
	}
	return nil
}

// Read calls each for every line of r until r ends. A line that is no report is
// an error, and ends it.
func Read(r io.Reader, each func(Line)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if len(s.Bytes()) == 0 {
			continue
		}
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("report of a component: %w", err)
		}
		each(l)
	}
	return s.Err()
}
