package nodes

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/pkg/sftp"
)

// metered counts what goes out.
type metered struct {
	io.WriteCloser
	out *atomic.Int64
}

func (m metered) Write(p []byte) (int, error) {
	k, err := m.WriteCloser.Write(p)
	m.out.Add(int64(k))
	return k, err
}

// What is sent arrives whole, and no more of it is under way than was said: an SSH
// server that gets more than it can hand on at once is several times slower.
func TestWritePieces(t *testing.T) {
	here, there := net.Pipe()
	server, err := sftp.NewServer(there)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve() }()
	var out atomic.Int64
	c, err := sftp.NewClientPipe(here, metered{here, &out}, sftp.MaxPacketUnchecked(sendPiece))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it ends at any rate
	name := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, sendPiece, 3*sendPiece + 1, 5<<20 + 17} {
		for _, piece := range []int{sendPiece, sendPieceElsewhere} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(i * 7 >> 3)
			}
			begun := out.Load()
			last, most := int64(0), int64(0)
			err := writePieces(c, name, want, piece, sendNear/piece, func(done int64) {
				most = max(most, out.Load()-begun-done)
				if done <= last || done > int64(size) {
					t.Errorf("%d bytes taken after %d, of %d", done, last, size)
				}
				last = done
			})
			got, readErr := os.ReadFile(name)
			if err != nil || readErr != nil || !bytes.Equal(got, want) || last != int64(size) {
				t.Fatalf("%d bytes in pieces of %d: %d arrived, %d told: %v, %v", size, piece, len(got), last, err, readErr)
			}
			// Beside the pieces each packet has a head.
			if heads := int64(size/piece+10) * 100; most > sendNear+heads {
				t.Errorf("%d bytes in pieces of %d: %d were under way", size, piece, most)
			}
		}
	}
	if err := writePieces(c, name+"-else", []byte("x"), sendPiece, 4, func(int64) {}); err == nil {
		t.Error("a file was made that was not there")
	}
}
