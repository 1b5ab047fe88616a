package provision

import (
	"context"
	"strings"

	"bela/nodes"
)

// Running is the path of the executable of the agent that runs on the node. The
// error wraps ErrNoAgent where there is none.
func Running(ctx context.Context, n *nodes.Node) (agent string, err error) {
	res, err := script(ctx, n, "look for an agent", "agent.sh")
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(res.Stdout), "\n"), nil
}
