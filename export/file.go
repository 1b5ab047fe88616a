package export

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bela/store"
)

// Format is a shape of output.
type Format string

// The formats. CSV and Parquet are a file a table; the others are one file.
const (
	FormatCSV     Format = "csv"
	FormatTidy    Format = "tidy"
	FormatJSON    Format = "json"
	FormatNDJSON  Format = "ndjson"
	FormatParquet Format = "parquet"
	FormatLP      Format = "lp"
)

// Formats lists the formats.
func Formats() []string {
	return []string{string(FormatCSV), string(FormatTidy), string(FormatJSON), string(FormatNDJSON), string(FormatParquet), string(FormatLP)}
}

// perTable says that the format has a file for each table.
func (f Format) perTable() bool { return f == FormatCSV || f == FormatParquet }

// ErrUsage wraps what the caller asked for and cannot be had.
var ErrUsage = errors.New("cannot be exported")

// Options say what to write, and where.
type Options struct {
	Format Format
	// Tables are the tables' names; all where there are none.
	Tables []string
	// Output is a file, a directory for the formats of a file a table, or "-"
	// for Stdout.
	Output string
	Stdout io.Writer
}

// Write exports a run and returns the files that it made. A file appears under
// its name only when it is whole: an error, or the end of ctx, leaves none.
func Write(ctx context.Context, r *store.Reader, o Options) ([]string, error) {
	if !slices.Contains(Formats(), string(o.Format)) {
		return nil, fmt.Errorf("%w: there is no format %q: use %s", ErrUsage, o.Format, strings.Join(Formats(), ", "))
	}
	tables, err := Tables(r, o.Tables...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if !o.Format.perTable() || len(tables) == 1 && !isDirectory(o.Output) {
		return one(o, func(w io.Writer) error { return write(ctx, w, r, o.Format, tables) })
	}
	if o.Output == "-" || o.Output == "" {
		return nil, fmt.Errorf("%w: %s is a file for each table: name a directory with -o, or one table with -table", ErrUsage, o.Format)
	}
	if err := os.MkdirAll(o.Output, 0o755); err != nil {
		return nil, err
	}
	var made []string
	for _, t := range tables {
		path := filepath.Join(o.Output, t.Name+"."+string(o.Format))
		if err := whole(path, func(w io.Writer) error { return write(ctx, w, r, o.Format, []Table{t}) }); err != nil {
			return made, err
		}
		made = append(made, path)
	}
	return made, nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return strings.HasSuffix(path, string(filepath.Separator)) || err == nil && info.IsDir()
}

// one writes a single output.
func one(o Options, do func(io.Writer) error) ([]string, error) {
	if o.Output == "-" || o.Output == "" {
		out := bufio.NewWriterSize(o.Stdout, 1<<16)
		return nil, errors.Join(do(out), out.Flush())
	}
	if isDirectory(o.Output) {
		return nil, fmt.Errorf("%w: %s is a directory, and %s is one file: name a file with -o", ErrUsage, o.Output, o.Format)
	}
	return []string{o.Output}, whole(o.Output, do)
}

func write(ctx context.Context, w io.Writer, r *store.Reader, f Format, tables []Table) error {
	switch f {
	case FormatCSV:
		return CSV(ctx, w, tables[0])
	case FormatParquet:
		return Parquet(ctx, w, tables[0])
	case FormatTidy:
		return Tidy(ctx, w, r, tables)
	case FormatJSON:
		return JSON(ctx, w, r, tables)
	case FormatNDJSON:
		return NDJSON(ctx, w, tables)
	}
	return lineProtocol(ctx, w, r)
}

// lineProtocol unpacks metrics.lp.gz up to where the run was broken off.
func lineProtocol(ctx context.Context, w io.Writer, r *store.Reader) error {
	f, err := os.Open(filepath.Join(r.Dir, "metrics.lp.gz"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	z, err := gzip.NewReader(bufio.NewReader(f))
	if errors.Is(err, io.EOF) {
		return nil // no metric yet
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	lines := bufio.NewReaderSize(z, 1<<16)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // a line without its end is what a crash leaves
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		if n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// whole writes a file that appears only when all of it is on the disk.
func whole(path string, do func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error counts
			_ = os.Remove(f.Name()) // best effort: it may not be there any more
			err = fmt.Errorf("%s: %w: nothing is left of it", path, err)
		}
	}()
	out := bufio.NewWriterSize(f, 1<<16)
	if err := do(out); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
