package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"bela/nodes"
)

// PushArtifact puts a local file on the node, at artifacts/<its SHA-256> in
// bela's directory. It copies nothing where the same is there already, and
// refuses a file whose SHA-256 (in lower-case hexadecimal) is another.
func PushArtifact(ctx context.Context, n *nodes.Node, local, sum string) (pushed bool, err error) {
	fail := func(err error, next string) (bool, error) {
		return false, &nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: err, Next: next}
	}
	if digest, err := hex.DecodeString(sum); err != nil || len(digest) != sha256.Size {
		return fail(fmt.Errorf("%q is no SHA-256", sum), "")
	}
	f, err := os.Open(local)
	if err != nil {
		return fail(err, "a relative path begins at the experiment file")
	}
	defer func() { _ = f.Close() }() // only read
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return fail(err, "")
	}
	if is := hex.EncodeToString(hash.Sum(nil)); is != sum {
		return fail(fmt.Errorf("%s has the SHA-256 %s, and the experiment says %s", local, is, sum),
			"get the right file, or correct sha256")
	}
	dir, err := n.Directory(ctx)
	if err != nil {
		return false, err
	}
	name := path.Join(dir, "artifacts", sum)
	if there, err := n.SHA256(ctx, name); err == nil && there == sum {
		return false, nil
	} else if err != nil && nodes.KindOf(err) != nodes.FileFailed {
		return false, err
	}
	if _, err := script(ctx, n, "make bela's directory", "prepare.sh", Controller(), "file", name); err != nil {
		return false, err
	}
	if err := n.Mkdir(ctx, path.Dir(name)); err != nil {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(err, "")
	}
	got, err := n.Upload(ctx, name, 0o700, size, f)
	if err == nil && got != sum {
		err = errors.Join(&nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: fmt.Errorf("%s changed while it was copied", local)},
			n.RemoveAll(ctx, name))
	}
	return err == nil, err
}
