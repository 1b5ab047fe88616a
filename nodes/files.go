package nodes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// sftpConcurrency is how many requests a file has under way: enough to fill a
// 1 Gbit/s link of 10 ms with 32 KiB packets.
const sftpConcurrency = 64

// withFiles runs f with the SFTP client, which is opened when first needed.
// When ctx ends, the client is given a moment to come back and is then closed
// under f, as its calls take no context.
func (n *Node) withFiles(ctx context.Context, what string, f func(*sftp.Client) error) error {
	client, err := n.openFiles(ctx, what)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- f(client) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		grace := time.NewTimer(time.Second)
		defer grace.Stop()
		select {
		case err = <-ended:
		case <-grace.C:
			n.mu.Lock()
			n.dropFiles(client)
			n.mu.Unlock()
			err = ctx.Err()
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, sftp.ErrSSHFxConnectionLost) || isLinkError(err) {
		n.mu.Lock()
		n.dropFiles(client)
		n.mu.Unlock()
	}
	return n.cause(ctx, FileFailed, what, err)
}

// openFiles gives the node's SFTP client.
func (n *Node) openFiles(ctx context.Context, what string) (*sftp.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.files != nil {
		return n.files, nil
	}
	session, release, err := n.session(ctx, what)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*sftp.Client, error) {
		_ = session.Close()
		release()
		return nil, n.cause(ctx, Unsupported, what+": the SSH server gives no file transfer (SFTP)", err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return fail(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	type opened struct {
		client *sftp.Client
		err    error
	}
	ch := make(chan opened, 1)
	go func() {
		if err := session.RequestSubsystem("sftp"); err != nil {
			ch <- opened{err: err}
			return
		}
		client, err := sftp.NewClientPipe(meteredReader{out, &n.listings}, in, sftp.UseConcurrentWrites(true), sftp.MaxConcurrentRequestsPerFile(sftpConcurrency))
		ch <- opened{client, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			return fail(o.err)
		}
		n.files = o.client
		n.fileEnd = func() {
			_ = session.Close()
			release()
		}
		return o.client, nil
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// dropFiles closes the SFTP client if it is still the current one; n.mu is held.
func (n *Node) dropFiles(client *sftp.Client) {
	if client == nil || n.files != client {
		return
	}
	end := n.fileEnd
	n.files, n.fileEnd = nil, nil
	// Closing waits for the peer, which may be gone.
	n.workers.Go(func() {
		end()
		_ = client.Close()
	})
}

// Upload writes a file of size bytes: to a temporary name beside it, checked
// against the SHA-256 of what was read, given its mode and then renamed, so
// that name never shows half a file. Its directory must exist; a relative name
// is under the login's home. It returns the SHA-256 in hexadecimal.
func (n *Node) Upload(ctx context.Context, name string, mode fs.FileMode, size int64, r io.Reader) (string, error) {
	what := "upload " + name
	temporary := fmt.Sprintf("%s.upload-%s", name, strings.ToLower(rand.Text()[:8]))
	var sum string
	err := n.withFiles(ctx, what, func(c *sftp.Client) error {
		if free, ok := freeSpace(c, path.Dir(name)); ok && free < size {
			return n.noSpace(what, size, free)
		}
		var err error
		sum, err = n.write(ctx, c, temporary, size, r)
		if err != nil {
			err = n.writeFailed(c, what, name, err)
			_ = c.Remove(temporary) // the write's own error counts
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if err := n.place(ctx, what, temporary, name, mode, sum); err != nil {
		n.discard(ctx, temporary)
		return "", err
	}
	return sum, nil
}

// write writes the temporary file and returns the hash of what was read.
func (n *Node) write(ctx context.Context, c *sftp.Client, temporary string, size int64, r io.Reader) (string, error) {
	f, err := c.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	// One byte more than promised is read, to notice a source that is larger.
	source := io.TeeReader(io.LimitReader(contextReader{ctx, r}, size+1), hash)
	written, err := f.ReadFromWithConcurrency(source, sftpConcurrency)
	if closed := f.Close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
		return "", err
	case written < size:
		return "", fmt.Errorf("the source has %d bytes instead of %d", written, size)
	case written > size:
		return "", fmt.Errorf("the source has more than %d bytes", size)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// writeFailed finds out about a full disk: SFTP's status has no code for it.
func (n *Node) writeFailed(c *sftp.Client, what, name string, err error) error {
	if _, ok := errors.AsType[*sftp.StatusError](err); !ok {
		return err
	}
	const nearlyNothing = 64 << 10
	if free, ok := freeSpace(c, path.Dir(name)); ok && free < nearlyNothing {
		return n.noSpace(what, -1, free)
	}
	return err
}

func (n *Node) noSpace(what string, need, free int64) error {
	text := fmt.Errorf("%s: the disk has %d bytes left", what, free)
	if need >= 0 {
		text = fmt.Errorf("%s: it has %d bytes, the disk has %d left", what, need, free)
	}
	return n.fail(NoSpace, text, "free some space there, or set directory to another disk", false)
}

// freeSpace is what the login may still write below dir; not every server tells.
func freeSpace(c *sftp.Client, dir string) (bytes int64, ok bool) {
	v, err := c.StatVFS(dir)
	if err != nil || v.Frsize == 0 {
		return 0, false
	}
	return int64(v.Frsize * v.Bavail), true
}

// place checks the temporary file and puts it in its place.
func (n *Node) place(ctx context.Context, what, temporary, name string, mode fs.FileMode, sum string) error {
	got, err := n.SHA256(ctx, temporary)
	if err != nil {
		return err
	}
	if got != sum {
		return n.fail(FileFailed, fmt.Errorf("%s: the copy's SHA-256 is %s instead of %s", what, got, sum),
			"the disk or the memory of the machine may be bad; try again", true)
	}
	return n.withFiles(ctx, what, func(c *sftp.Client) error {
		if err := c.Chmod(temporary, mode); err != nil {
			return err
		}
		if err := c.PosixRename(temporary, name); err != nil {
			// Without OpenSSH's extension a rename does not replace.
			_ = c.Remove(name)
			return c.Rename(temporary, name)
		}
		return nil
	})
}

// discard removes a temporary file, also when ctx has ended.
func (n *Node) discard(ctx context.Context, temporary string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = n.withFiles(ctx, "remove "+temporary, func(c *sftp.Client) error { return c.Remove(temporary) })
}

// SHA256 is the hash of a file on the node, in hexadecimal; the error wraps
// fs.ErrNotExist where there is no such file.
func (n *Node) SHA256(ctx context.Context, name string) (string, error) {
	what := "hash " + name
	const noFile, noTool = 3, 127
	res, err := n.Run(ctx, Script(what, `[ -f "$1" ] || exit 3; exec sha256sum <"$1"`, name))
	if err == nil {
		if sum, _, _ := strings.Cut(string(res.Stdout), " "); len(sum) == sha256.Size*2 {
			return sum, nil
		}
		return "", n.fail(FileFailed, fmt.Errorf("%s: sha256sum printed %q", what, firstWords([]string{string(res.Stdout)})), "", false)
	}
	switch res.Status {
	case noFile:
		return "", n.fail(FileFailed, fmt.Errorf("%s: %w", what, fs.ErrNotExist), "", false)
	case noTool:
		return n.hashByReading(ctx, what, name)
	}
	return "", err
}

// hashByReading is for nodes without sha256sum.
func (n *Node) hashByReading(ctx context.Context, what, name string) (string, error) {
	hash := sha256.New()
	err := n.withFiles(ctx, what, func(c *sftp.Client) error {
		f, err := c.Open(name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		_, err = f.WriteTo(contextWriter{ctx, hash})
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)), err
}

// Download copies a file to w and returns its length; one of more than limit
// bytes is an error, after limit bytes at most. The error wraps fs.ErrNotExist
// where there is no such file.
func (n *Node) Download(ctx context.Context, name string, w io.Writer, limit int64) (int64, error) {
	bounded := &limitWriter{w: contextWriter{ctx, w}, left: limit}
	err := n.withFiles(ctx, "download "+name, func(c *sftp.Client) error {
		f, err := c.Open(name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		_, err = f.WriteTo(bounded)
		if errors.Is(err, ErrTooLarge) {
			return fmt.Errorf("%w than %d bytes", ErrTooLarge, limit)
		}
		return err
	})
	return bounded.written, err
}

// Mkdir makes a directory and its parents, for the login alone (mode 0700).
func (n *Node) Mkdir(ctx context.Context, name string) error {
	_, err := n.Run(ctx, Script("make directory "+name, `umask 077 && mkdir -p -- "$1"`, name))
	return err
}

// RemoveAll removes a file or directory with all that is in it. It must be
// beneath bela's directory on the node; what does not exist is no error.
func (n *Node) RemoveAll(ctx context.Context, name string) error {
	dir, err := n.Directory(ctx)
	if err != nil {
		return err
	}
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	if name = path.Clean(name); name == dir || !within(dir, name) {
		return n.fail(BadConfig, fmt.Errorf("remove %s: it is not beneath %s", name, dir), "", false)
	}
	// The shell looks again with links resolved: a link inside the directory
	// must not lead the removal out of it.
	const script = `parent=$(cd -P -- "$(dirname -- "$2")" 2>/dev/null && pwd -P) || exit 0
root=$(cd -P -- "$1" && pwd -P) || exit 1
case "$parent/" in "$root"/*) exec rm -rf -- "$2";; esac
echo "it leads out of $root" >&2; exit 1`
	_, err = n.Run(ctx, Script("remove "+name, script, dir, name))
	return err
}

// ErrTooLarge ends a download at its limit; what came before has been written.
var ErrTooLarge = errors.New("it is larger")

type limitWriter struct {
	w       io.Writer
	left    int64
	written int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	over := int64(len(p)) > l.left
	if over {
		p = p[:l.left]
	}
	k, err := l.w.Write(p)
	l.left -= int64(k)
	l.written += int64(k)
	if err == nil && over {
		err = ErrTooLarge
	}
	return k, err
}

// contextReader and contextWriter end a copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
