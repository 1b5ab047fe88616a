package provision

import (
	"context"
	"fmt"
	"path"
	"strings"

	"bela/nodes"
	"bela/provision/agentbin"
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

// AgentPath is where Open and Push put the agent on a node with these facts.
func AgentPath(ctx context.Context, n *nodes.Node, f nodes.Facts, source Source) (string, error) {
	bin, err := binaryFor(n, f, source, agentbin.Agent)
	if err != nil {
		return "", err
	}
	return pathOf(ctx, n, agentbin.Agent, bin)
}

// pathOf is where a program lies on a node.
func pathOf(ctx context.Context, n *nodes.Node, p agentbin.Program, bin agentbin.Binary) (string, error) {
	dir, err := n.Directory(ctx)
	if err != nil {
		return "", err
	}
	return path.Join(dir, "bin", string(p)+"-"+bin.SHA256[:16]), nil
}

// binaryFor gives a program for a machine.
func binaryFor(n *nodes.Node, f nodes.Facts, source Source, p agentbin.Program) (agentbin.Binary, error) {
	bin, err := source(p, f.GOARCH, f.GOARM)
	if err != nil {
		return bin, &nodes.Error{Node: n.Name(), Kind: nodes.Unsupported, Err: err}
	}
	if len(bin.SHA256) != 64 {
		return bin, &nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: fmt.Errorf("%s: its hash %q is no SHA-256", p.Noun(), bin.SHA256)}
	}
	return bin, nil
}
