package influx

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"iter"
	"math"
	"os"
)

// Mark is a place in a file of line protocol: behind so many points, whose lines
// have this sum. A file that has the mark's sum there begins with the same lines.
type Mark struct {
	Points int64  `json:"points"`
	Sum    uint64 `json:"sum,string"`
}

// Spool reads gzipped line protocol from a file that another goroutine, or
// another process, appends to. It is not safe for concurrent use.
type Spool struct {
	file   *os.File
	member int64 // where the gzip member begins that is being read
	taken  int64 // points of it that were read
	mark   Mark
	sums   *crc64.Table
	in     *bufio.Reader
	zip    *gzip.Reader
	lines  *bufio.Reader
}

// OpenSpool opens a file, from its beginning. Close it.
func OpenSpool(path string) (*Spool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Spool{
		file: f, sums: crc64.MakeTable(crc64.ECMA), in: bufio.NewReader(nil), zip: new(gzip.Reader), lines: bufio.NewReaderSize(nil, maxLine+1),
	}, nil
}

// Close closes the file.
func (s *Spool) Close() error { return s.file.Close() }

// Mark is the place up to which lines were read.
func (s *Spool) Mark() Mark { return s.mark }

// Lines reads the lines that the file has now, from the place where the last
// reading stopped; each ends in '\n' and is valid until the next one. A member of
// which the end is not there yet is read as far as it goes. Anything wrong with
// the file is yielded as the last pair's error.
func (s *Spool) Lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := s.read(func(line []byte) bool { return yield(line, nil) }); err != nil {
			yield(nil, fmt.Errorf("line protocol, after line %d: %w", s.mark.Points, err))
		}
	}
}

func (s *Spool) read(yield func([]byte) bool) error {
	section := io.NewSectionReader(s.file, s.member, math.MaxInt64-s.member)
	s.in.Reset(section)
	start := s.member
	for {
		if err := s.zip.Reset(s.in); err != nil {
			return untorn(err)
		}
		s.zip.Multistream(false)
		s.lines.Reset(s.zip)
		if whole, err := s.readMember(yield); err != nil || !whole {
			return err
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		s.member, s.taken = start+at-int64(s.in.Buffered()), 0
	}
}

// readMember reads the rest of one member; whole says that it came to its end.
func (s *Spool) readMember(yield func([]byte) bool) (whole bool, err error) {
	skip := s.taken
	for {
		line, err := s.lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return false, fmt.Errorf("a line is longer than %d bytes", maxLine)
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, untorn(err)
		case len(line) == 1:
			continue
		case skip > 0:
			skip--
			continue
		}
		s.taken++
		s.mark = Mark{s.mark.Points + 1, crc64.Update(s.mark.Sum, s.sums, line)}
		if !yield(line) {
			return false, nil
		}
	}
}

// Skip reads on to a mark of this file. Where the file is not the one that the
// mark was made of, or has lost its end, it says so, and the next line read is
// the file's first.
func (s *Spool) Skip(to Mark) (same bool, err error) {
	if s.mark.Points < to.Points {
		for _, err := range s.Lines() {
			if err != nil {
				return false, err
			}
			if s.mark.Points == to.Points {
				break
			}
		}
	}
	if s.mark == to {
		return true, nil
	}
	s.member, s.taken, s.mark = 0, 0, Mark{}
	return false, nil
}
