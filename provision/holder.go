package provision

import (
	"context"
	"strconv"
	"strings"
	"time"

	"bela/nodes"
)

// Holder is the agent that runs on a node.
type Holder struct {
	PID int
	Age time.Duration // since it started
	// For says which run it serves and who started it: "run 3f… by ada@desk".
	For string
}

// HolderOf looks for an agent that runs on the node; nil where there is none.
// It changes nothing there.
func HolderOf(ctx context.Context, n *nodes.Node) (*Holder, error) {
	res, err := script(ctx, n, "look for a running agent", "holder.sh")
	if err != nil {
		return nil, err
	}
	lines := strings.SplitN(strings.TrimSpace(string(res.Stdout)), "\n", 3)
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return nil, nil
	}
	h := &Holder{PID: pid, For: "a run that it does not name"}
	if len(lines) > 1 {
		seconds, _ := strconv.ParseInt(strings.TrimSpace(lines[1]), 10, 32)
		h.Age = time.Duration(seconds) * time.Second
	}
	if len(lines) > 2 {
		if text := strings.ToValidUTF8(oneLine(lines[2]), "?"); text != "" && len(text) < 500 {
			h.For = text
		}
	}
	return h, nil
}
