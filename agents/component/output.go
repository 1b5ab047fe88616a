package component

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	// maxLog is a log file's size in bytes; one earlier file is kept beside it.
	maxLog = 16 << 20
	// keptLines and keptLine bound the last lines that errors and events carry.
	keptLines = 20
	keptLine  = 1 << 10
	// readBuffer is also the longest line that is matched in one piece.
	readBuffer = 32 << 10
)

// outputLog takes an instance's output: into a file of bounded size, with the
// last lines at hand and a look-out for a line that shows readiness.
type outputLog struct {
	limit int64 // bytes; 0 is maxLog

	mu      sync.Mutex
	path    string
	file    *os.File
	size    int64
	err     error // the first; the output is then read and thrown away
	lines   []string
	pattern *regexp.Regexp
	found   chan struct{}
}

// open appends to the file at path.
func (l *outputLog) open(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.path, l.file, l.size = path, f, info.Size()
	return nil
}

func (l *outputLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// read takes all of r, line by line.
func (l *outputLog) read(r io.Reader) {
	b := bufio.NewReaderSize(r, readBuffer)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			l.add(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (l *outputLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line)
	line = bytes.TrimRight(line, "\r\n")
	text := strings.ToValidUTF8(string(line[:min(len(line), keptLine)]), "�")
	if len(l.lines) == keptLines {
		l.lines = slices.Delete(l.lines, 0, 1)
	}
	l.lines = append(l.lines, text)
	if l.pattern != nil && l.pattern.Match(line) {
		close(l.found)
		l.pattern = nil
	}
}

// write puts bytes into the file, and starts another when it is full.
func (l *outputLog) write(b []byte) {
	limit := l.limit
	if limit == 0 {
		limit = maxLog
	}
	if l.file != nil && l.size+int64(len(b)) > limit {
		l.rotate()
	}
	if l.file == nil || l.err != nil {
		return
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	l.err = err
}

func (l *outputLog) rotate() {
	_ = l.file.Close()
	l.file = nil
	if l.err = os.Rename(l.path, l.path+".1"); l.err != nil {
		return
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		l.err = err
		return
	}
	l.file, l.size = f, 0
	n, err := fmt.Fprintf(f, "[bela: the log was full; what came before is in %s, and older lines are gone]\n",
		filepath.Base(l.path)+".1")
	l.size, l.err = int64(n), err
}

// last returns the last lines.
func (l *outputLog) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// watch returns a channel that is closed by the first line that matches, one of
// the last lines included.
func (l *outputLog) watch(p *regexp.Regexp) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pattern, l.found = p, make(chan struct{})
	found := l.found
	if slices.ContainsFunc(l.lines, p.MatchString) {
		close(found)
		l.pattern = nil
	}
	return found
}
