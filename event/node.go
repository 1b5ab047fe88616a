package event

// The states of nodes, as NodeState tells them.
const (
	NodeConnecting = "connecting"
	NodeConnected  = "connected"
	// NodePushing: its agent is on the way; the detail says how far.
	NodePushing = "pushing"
	NodeReady   = "ready" // its agent answers
	// NodeLinkLost: nothing is heard of the node; it is tried again, and what goes
	// on there goes on.
	NodeLinkLost = "link_lost"
	// NodeLinkBack: the same agent answers again.
	NodeLinkBack = "link_back"
	// NodeAgentLost: the node answers, and its agent does not.
	NodeAgentLost = "agent_lost"
	// NodeRebooted: the machine was started anew meanwhile.
	NodeRebooted = "rebooted"
	NodeLost     = "lost" // given up for now
	// NodeReplaced: a spare has taken its place. NodeRemoved: the rest of the run
	// goes on without it.
	NodeReplaced = "replaced"
	NodeRemoved  = "removed"
	// NodeDiskFull: its disk takes no more; NodeDiskFree: it does again.
	NodeDiskFull = "disk_full"
	NodeDiskFree = "disk_free"
	NodeClean    = "clean" // nothing of bela is left there
)
