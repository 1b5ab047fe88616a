package nodes_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bela/nodes"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/sshdtest"
)

// A file is filled over OpenSSH's server and the lab's; a file that is not there,
// and a server without SFTP, are told apart: the one is an error, for the other
// there is another way.
func TestSend(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want := randomBytes(3<<20 + 17)
		if err := n.Send(deadline(t), name, want, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrived: %v", len(got), err)
		}
		if err := n.Send(deadline(t), name+"-else", want, func(int64) {}); nodes.KindOf(err) != nodes.FileFailed || errors.Is(err, nodes.ErrNoTransfer) {
			t.Errorf("into a file that is not there: %v", err)
		}
	})
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"Subsystem none /bin/false"}})
	n := dial(t, nodes.Target{Name: "worker-1", Host: s.Host, Port: s.Port, User: s.User,
		SSH: nodes.Options{KeyFiles: []string{s.KeyFile}, KnownHosts: s.KnownHosts(t), Agent: "none", Config: "none"}})
	if err := n.Send(deadline(t), "file", []byte("x"), func(int64) {}); !errors.Is(err, nodes.ErrNoTransfer) {
		t.Errorf("a server without SFTP: %v", err)
	}
	if n.LinkRate() != 0 || n.RoundTrip() != 0 {
		t.Error("this machine's own network says something of a node that may be behind a forwarded port")
	}
}

// How fast a link is must be known however busy the two ends are: else agents go
// compressed over fast links, and nodes unpack what they could have had sooner.
func TestLinkRate(t *testing.T) {
	bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}}})
	n := dial(t, bed.Node(0).Target())
	if _, err := n.Run(deadline(t), nodes.Command{Args: []string{"sh", "-c", "cat >/dev/null"}, Stdin: bytes.NewReader(make([]byte, 1<<20))}); err != nil {
		t.Fatal(err)
	}
	if rate, trip := n.LinkRate(), n.RoundTrip(); rate < 1<<20 || trip <= 0 {
		t.Errorf("within a machine: %.0f bytes a second, %v there and back", rate, trip)
	}
}
