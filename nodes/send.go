package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

// How much of a file that is sent is under way at once. OpenSSH's server makes
// the buffer of a channel larger by copying it whole, a little at a time, and takes
// some 150 ms of CPU to get to the 2 MiB that a channel may have under way, which
// is more than all the rest of a login and an upload. A near node needs no
// more than 512 KiB: at a round trip of 2 ms those are 250 MB/s.
const (
	sendNear = 512 << 10
	sendFar  = 2 << 20
	near     = 2 * time.Millisecond
	// sendPiece is what OpenSSH's server takes at once, which others need not.
	sendPiece, sendPieceElsewhere = 128 << 10, 32 << 10
)

// ErrNoTransfer says that a node's SSH server gives no file transfer.
var ErrNoTransfer = errors.New("the SSH server gives no file transfer (SFTP)")

// Send writes text into a file that is there already, and tells moved how many of
// its bytes the node has taken, one call at a time. What the file is worth then is
// for the caller to check; Upload does all of it.
func (n *Node) Send(ctx context.Context, name string, text []byte, moved func(int64)) error {
	what := "send " + name
	session, release, err := n.session(ctx, what)
	if err != nil {
		return err
	}
	defer release()
	defer session.Close() //nolint:errcheck // it has ended
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	in, err := session.StdinPipe()
	if err != nil {
		return n.cause(ctx, LinkLost, what, err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return n.cause(ctx, LinkLost, what, err)
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return n.cause(ctx, Unsupported, what, fmt.Errorf("%w: %w", ErrNoTransfer, err))
	}
	c, err := sftp.NewClientPipe(meteredReader{out, new(listings)}, in, sftp.MaxPacketUnchecked(sendPiece))
	if err != nil {
		return n.cause(ctx, Unsupported, what, fmt.Errorf("%w: %w", ErrNoTransfer, err))
	}
	defer c.Close() //nolint:errcheck // its session ends
	piece, window := sendPieceElsewhere, sendNear
	if _, ok := c.HasExtension("limits@openssh.com"); ok {
		piece = sendPiece
	}
	if trip := n.RoundTrip(); trip == 0 || trip > near {
		window = sendFar
	}
	if err := writePieces(c, name, text, piece, window/piece, moved); err != nil {
		return n.cause(ctx, FileFailed, what, err)
	}
	return nil
}

// writePieces writes a file in pieces, so many at once.
func writePieces(c *sftp.Client, name string, text []byte, piece, atOnce int, moved func(int64)) error {
	f, err := c.OpenFile(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var next, done int
	var failed error
	take := func(before int, err error) (from int, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if before > 0 && err == nil {
			done += before
			moved(int64(done))
		}
		if failed == nil {
			failed = err
		}
		from = next
		next = min(next+piece, len(text))
		return from, failed == nil && from < len(text)
	}
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			from, more := take(0, nil)
			for more {
				k, err := f.WriteAt(text[from:min(from+piece, len(text))], int64(from))
				from, more = take(k, err)
			}
		})
	}
	workers.Wait()
	return errors.Join(failed, f.Close())
}
