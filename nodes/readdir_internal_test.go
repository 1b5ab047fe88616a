package nodes

import (
	"io/fs"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// endless is an SFTP server whose directories have no end.
type endless struct{}

func (endless) Filelist(*sftp.Request) (sftp.ListerAt, error) { return endless{}, nil }

func (endless) ListAt(list []fs.FileInfo, _ int64) (int, error) {
	for i := range list {
		list[i] = named(strings.Repeat("x", 200))
	}
	return len(list), nil
}

type named string

func (n named) Name() string     { return string(n) }
func (named) Size() int64        { return 0 }
func (named) Mode() fs.FileMode  { return 0o600 }
func (named) ModTime() time.Time { return time.Time{} }
func (named) IsDir() bool        { return false }
func (named) Sys() any           { return nil }

// A node that lists files without end must not eat the controller's memory: the
// listing ends with a word that says why.
func TestEndlessDirectory(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	server := sftp.NewRequestServer(there, sftp.Handlers{FileList: endless{}, FileGet: sftp.InMemHandler().FileGet,
		FilePut: sftp.InMemHandler().FilePut, FileCmd: sftp.InMemHandler().FileCmd})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve() // ends with the pipe
	}()
	n := &Node{}
	client, err := sftp.NewClientPipe(meteredReader{here, &n.listings}, here)
	if err != nil {
		t.Fatal(err)
	}
	n.files = client
	t.Cleanup(func() {
		_ = here.Close()
		_ = there.Close()
		<-served
	})
	list, err := n.ReadDir(t.Context(), "/cells")
	if err == nil || !strings.Contains(err.Error(), "longer than 16 MiB") || len(list) > 200_000 {
		t.Errorf("%d files: %v", len(list), err)
	}
	if len(n.listings.all) > 0 {
		t.Error("the listing is still counted")
	}
}

// Text of a node must not steer the terminal of who reads it, nor show itself in
// another order than it has.
func TestOneLine(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b]0;title\x07b\u009b2Jc\u202eexe.gpj\u2066\u2028d\ne"
	if got := oneLine(evil); strings.ContainsAny(got, "\x1b\x07\u009b\u202e\u2066\u2028\n") || !strings.Contains(got, "d|e") {
		t.Errorf("%q", got)
	}
}
