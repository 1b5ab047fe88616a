package influx

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxLine is the longest line that ReadLines takes, in bytes: far above what the
// encoder makes.
const maxLine = 64 << 10

// ReadLines reads gzipped line protocol, as metrics.lp.gz is: one or more gzip
// members, each line as it was written, without its '\n'. A yielded line is
// valid until the next one.
//
// The process that wrote the file may have died: a stream that ends in the
// middle of a member, or of a line, ends the sequence at its last whole line.
// Anything else that is wrong with it is yielded as the last pair's error.
func ReadLines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		n, err := eachLine(r, func(line []byte) bool { return yield(line, nil) })
		if err != nil {
			yield(nil, fmt.Errorf("line protocol, after line %d: %w", n, err))
		}
	}
}

// eachLine calls f with each whole line until f returns false, and counts them.
func eachLine(r io.Reader, f func([]byte) bool) (n int, err error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return 0, untorn(err)
	}
	in := bufio.NewReaderSize(zip, maxLine+1)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return n, fmt.Errorf("a line is longer than %d bytes", maxLine)
		case err != nil:
			return n, untorn(err)
		}
		line = line[:len(line)-1]
		if len(line) == 0 {
			continue
		}
		n++
		if !f(line) {
			return n, nil
		}
	}
}

// untorn forgives an end, wherever it comes.
func untorn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
