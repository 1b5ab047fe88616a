// Package spool keeps numbered records in files of one directory, within a bound
// of bytes: when it is full the oldest go. It exists so that what an agent has
// to tell outlives a lost link, and the agent's own death, without memory that
// grows. It knows nothing of what the records say.
//
// A file holds records of consecutive numbers and is named by the first of them.
// Each record is its length, its CRC-32 and its bytes, so that a record that was
// being written when its writer died is seen, and dropped.
package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	suffix = ".spool"
	magic  = "bela spool 1 "
	// parts is how many files a full spool has: what goes at once is one of them.
	parts = 16
	// recordHead is the length and the checksum before each record.
	recordHead = 8
	// maxLabel bounds the label of a file that is read.
	maxLabel = 4096
)

// Options say where a spool lives and how large it may be.
type Options struct {
	Dir string
	// Label names whose records these are; files with another are removed.
	Label string
	// Limit bounds the bytes on disk, Tail those in memory of the newest records,
	// which are handed out without reading files; the newest one is always there.
	Limit, Tail int64
}

// Spool is open for writing by one process. Its methods may be called from many
// goroutines.
type Spool struct {
	Options
	create func(path string) (file, error)

	mu       sync.Mutex
	segments []segment // ascending; the last one may be open for writing
	open     file      // nil where the next record begins a file
	onDisk   int64
	next     uint64 // number of the next record

	tail      [][]byte // the newest records, without gaps up to next
	tailBytes int64
}

// file is what a spool needs of a file that it writes.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
}

// segment is one file.
type segment struct {
	path        string
	first, last uint64
	size        int64
}

// Recovered says what was found when a spool was opened.
type Recovered struct {
	Records int
	// Torn is how many bytes at the end of files were no whole records, and were
	// dropped.
	Torn int64
}

// Open opens the spool of a directory, which it makes, and takes up what the
// files with the same label hold.
func Open(o Options) (*Spool, Recovered, error) {
	s := &Spool{Options: o, next: 1, create: createFile}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, Recovered{}, err
	}
	found, err := s.recover()
	if err != nil {
		return nil, found, err
	}
	return s, found, nil
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// recover reads the directory.
func (s *Spool) recover() (found Recovered, err error) {
	names, err := filepath.Glob(filepath.Join(s.Dir, "*"+suffix))
	if err != nil {
		return found, err
	}
	slices.Sort(names)
	for _, path := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), suffix), 10, 64)
		var records [][]byte
		var size, torn int64
		if err == nil {
			records, size, torn, err = read(path, s.Label)
		}
		if err != nil || len(records) == 0 || first < s.next {
			// Another's, or nothing in it that could be used.
			found.Torn += torn
			if err := os.Remove(path); err != nil {
				return found, err
			}
			continue
		}
		if torn > 0 {
			if err := os.Truncate(path, size); err != nil {
				return found, err
			}
		}
		found.Torn += torn
		found.Records += len(records)
		s.segments = append(s.segments, segment{path, first, first + uint64(len(records)) - 1, size})
		s.onDisk += size
		s.next = first + uint64(len(records))
	}
	return found, nil
}

var errForeign = errors.New("no file of this spool")

// read gives a file's whole records, the bytes that they and the head take, and
// how many bytes behind are no record.
func read(path, label string) (records [][]byte, size, torn int64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, 0, err
	}
	head, _, ok := bytes.Cut(data[:min(len(data), maxLabel)], []byte("\n"))
	if !ok || string(head) != magic+label {
		return nil, 0, 0, errForeign
	}
	at := len(head) + 1
	for len(data)-at >= recordHead {
		n := int(binary.BigEndian.Uint32(data[at:]))
		sum := binary.BigEndian.Uint32(data[at+4:])
		if n > len(data)-at-recordHead {
			break
		}
		record := data[at+recordHead : at+recordHead+n]
		if crc32.ChecksumIEEE(record) != sum {
			break
		}
		records = append(records, record)
		at += recordHead + n
	}
	return records, int64(at), int64(len(data) - at), nil
}

// Next is the number that the next record gets; they count from 1.
func (s *Spool) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Append keeps a record, which the caller does not change any more, under the
// next number. On an error, such as a full disk, it is kept in memory for as
// long as it is among the newest, and the next one is tried on disk again.
func (s *Spool) Append(record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := s.next
	s.next++
	s.tail = append(s.tail, record)
	s.tailBytes += int64(len(record))
	for s.tailBytes > s.Tail && len(s.tail) > 1 {
		s.tailBytes -= int64(len(s.tail[0]))
		s.tail[0] = nil
		s.tail = s.tail[1:]
	}
	return s.write(number, record)
}

// write puts a record at the end of the last file. The caller holds mu.
func (s *Spool) write(number uint64, record []byte) error {
	need := int64(recordHead + len(record))
	if need > s.Limit/parts {
		s.close() // the next one is not its neighbour
		return fmt.Errorf("spool: a record of %d bytes is more than a file may have", len(record))
	}
	if s.open != nil && s.segments[len(s.segments)-1].size+need > s.Limit/parts {
		s.close()
	}
	s.room(need)
	if s.open == nil {
		if err := s.begin(number); err != nil {
			return err
		}
	}
	seg := &s.segments[len(s.segments)-1]
	line := make([]byte, recordHead, need)
	binary.BigEndian.PutUint32(line, uint32(len(record)))
	binary.BigEndian.PutUint32(line[4:], crc32.ChecksumIEEE(record))
	if _, err := s.open.Write(append(line, record...)); err != nil {
		// Half a record must not stand before a whole one. Where even this fails,
		// the file ends here for whoever reads it.
		_ = s.open.Truncate(seg.size)
		s.close()
		return fmt.Errorf("spool: %w", err)
	}
	seg.last = number
	seg.size += need
	s.onDisk += need
	return nil
}

// begin makes the file whose first record gets a number. The caller holds mu.
func (s *Spool) begin(number uint64) error {
	path := filepath.Join(s.Dir, fmt.Sprintf("%020d%s", number, suffix))
	f, err := s.create(path)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	head := magic + s.Label + "\n"
	if _, err := io.WriteString(f, head); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return fmt.Errorf("spool: %w", err)
	}
	s.open = f
	s.segments = append(s.segments, segment{path, number, number - 1, int64(len(head))})
	s.onDisk += int64(len(head))
	return nil
}

// close ends the file that is written to; one without a record goes. The caller
// holds mu.
func (s *Spool) close() {
	if s.open == nil {
		return
	}
	_ = s.open.Close() // what was written is read back through its checksum
	s.open = nil
	if seg := s.segments[len(s.segments)-1]; seg.last < seg.first {
		s.drop(len(s.segments) - 1)
	}
}

// room removes the oldest files until need bytes fit. The caller holds mu.
func (s *Spool) room(need int64) {
	for s.onDisk+need > s.Limit && len(s.segments) > 0 {
		if len(s.segments) == 1 {
			s.close()
			if len(s.segments) == 0 {
				return
			}
		}
		s.drop(0)
	}
}

func (s *Spool) drop(i int) {
	_ = os.Remove(s.segments[i].path)
	s.onDisk -= s.segments[i].size
	s.segments = slices.Delete(s.segments, i, i+1)
}

// After gives the records that are held with numbers above n, from the lowest
// on, as many as there are in one file or in memory, and the number of the
// first. Where the first is not n+1, those in between are gone. Without any, first
// is Next.
func (s *Spool) After(n uint64) (records [][]byte, first uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inMemory := s.next - uint64(len(s.tail))
	if n+1 >= inMemory {
		if n+1 >= s.next {
			return nil, s.next, nil
		}
		return slices.Clone(s.tail[n+1-inMemory:]), n + 1, nil
	}
	for _, seg := range s.segments {
		if seg.last <= n || seg.last < seg.first {
			continue
		}
		if seg.first >= inMemory {
			break
		}
		all, _, _, rerr := read(seg.path, s.Label)
		if rerr != nil || uint64(len(all)) < seg.last-seg.first+1 {
			err = errors.Join(err, fmt.Errorf("spool: %s cannot be read back: %w", filepath.Base(seg.path), errors.Join(rerr, io.ErrUnexpectedEOF)))
			continue // what it held is a gap
		}
		first = max(seg.first, n+1)
		return all[first-seg.first:], first, err
	}
	return slices.Clone(s.tail), inMemory, err
}

// Close lets go of the file that is written to. The records stay.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}
