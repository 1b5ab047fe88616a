package nodes

import "strings"

// Route is the way to a node as it will be gone, when all that the target and the
// controller's own files say is put together.
type Route struct {
	Host Host
	// Jump are the hosts in between, in order.
	Jump []Host
	// KeyFiles are the private keys that are tried, beside those of the SSH agent.
	KeyFiles []string
}

// RouteOf works out the way to a target, without going it.
func RouteOf(t Target) (Route, error) {
	d, err := newDialer(t)
	if err != nil {
		return Route{}, err
	}
	var r Route
	for _, h := range d.hops {
		r.Jump = append(r.Jump, Host{User: h.user, Host: h.host, Port: h.port})
	}
	last := len(r.Jump) - 1
	r.Host, r.Jump = r.Jump[last], r.Jump[:last]
	if len(t.SSH.KeyFiles) > 0 {
		for _, f := range t.SSH.KeyFiles {
			r.KeyFiles = append(r.KeyFiles, d.config.expandHome(f))
		}
	} else if len(t.SSH.Signers) == 0 {
		r.KeyFiles, _ = d.config.identityFiles(d.hops[last])
	}
	return r, nil
}

// String writes the way as a person would: the jump hosts, then the node.
func (r Route) String() string {
	var all []string
	for _, h := range r.Jump {
		all = append(all, h.String())
	}
	return strings.Join(append(all, r.Host.String()), " → ")
}
