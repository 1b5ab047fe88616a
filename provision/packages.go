package provision

import (
	"context"
	"path"
	"strings"

	"bela/nodes"
)

// undoPackages is the script in bela's directory that removes what Install
// installed. The agent runs it too, when no controller comes back.
const undoPackages = "undo-packages.sh"

// Install installs Debian packages, those that are missing, with what they need.
// Services that they bring are not started. It refuses where a package that is
// there would change. Remove removes them again, unless keep is set. ctx bounds
// it; the error has what apt said last.
func Install(ctx context.Context, n *nodes.Node, packages []string, keep bool) error {
	if len(packages) == 0 {
		return nil
	}
	dir, err := n.Directory(ctx)
	if err != nil {
		return err
	}
	if err := putUndo(ctx, n, dir); err != nil {
		return err
	}
	mode := "remove"
	if keep {
		mode = "keep"
	}
	_, err = script(ctx, n, "install packages", "packages.sh", append([]string{Controller(), mode}, packages...)...)
	return err
}

// putUndo puts the script on the node that undoes an installation: before it,
// so that there is no moment without.
func putUndo(ctx context.Context, n *nodes.Node, dir string) error {
	common, err := scripts.ReadFile("scripts/common.sh")
	if err != nil {
		return err
	}
	undo, err := scripts.ReadFile("scripts/" + undoPackages)
	if err != nil {
		return err
	}
	name := path.Join(dir, undoPackages)
	if _, err := script(ctx, n, "make bela's directory", "prepare.sh", Controller(), "file", name); err != nil {
		return err
	}
	text := "dir=" + nodes.Quote(dir) + "\n" + string(common) + string(undo)
	_, err = n.Upload(ctx, name, 0o700, int64(len(text)), strings.NewReader(text))
	return err
}
