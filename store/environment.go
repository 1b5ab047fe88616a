package store

import "time"

// Environment is under what a run was made: what somebody needs to judge
// whether two runs can be compared.
type Environment struct {
	// Format is the version of the run directory; Create sets it.
	Format      int    `json:"format"`
	BelaVersion string `json:"bela_version"`
	Commit      string `json:"commit,omitempty"`
	// CommandLine has its secrets already taken out by the caller.
	CommandLine []string          `json:"command_line"`
	Seed        int64             `json:"seed"`
	StartedAt   time.Time         `json:"started_at"`
	Lab         bool              `json:"lab"` // the nodes are the loopback lab's
	Controller  Host              `json:"controller"`
	Nodes       []NodeEnvironment `json:"nodes"`
	// Changes are those of the testbed while the run went on, in order. Nodes are
	// the ones that were there at the end.
	Changes []NodeChange `json:"changes,omitempty"`
	// Resumed are the times that the run was taken up again, in order.
	Resumed []Resumption `json:"resumed,omitempty"`
}

// Resumption is under what a run went on that had been broken off.
type Resumption struct {
	At          time.Time `json:"at"`
	BelaVersion string    `json:"bela_version"`
	Commit      string    `json:"commit,omitempty"`
	CommandLine []string  `json:"command_line"`
	Controller  Host      `json:"controller"`
	// Nodes are what they were then; empty where they were not all reached.
	Nodes []NodeEnvironment `json:"nodes,omitempty"`
	// Changes are what differs from before, in words.
	Changes []string `json:"changes,omitempty"`
}

// NodeChange is a node that was lost for good.
type NodeChange struct {
	At   time.Time `json:"at"`
	Node string    `json:"node"`
	// What is replaced, by a spare, or removed.
	What string `json:"what"`
	// Was is the machine that was lost, By the spare that took its place.
	Was string `json:"was"`
	By  string `json:"by,omitempty"`
	// Position is the cell from which on this holds.
	Position int    `json:"position"`
	Reason   string `json:"reason"`
}

// Host is what a machine is.
type Host struct {
	Hostname string `json:"hostname,omitempty"`
	OS       string `json:"os,omitempty"`
	Kernel   string `json:"kernel,omitempty"`
	Arch     string `json:"arch,omitempty"`
	CPUModel string `json:"cpu_model,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
	// MemoryTotal is in bytes.
	MemoryTotal int64 `json:"memory_total_bytes,omitempty"`
	// Virtual names the hypervisor or container, where there is one.
	Virtual string `json:"virtual,omitempty"`
	// BootID changes each time the machine starts.
	BootID string `json:"boot_id,omitempty"`
	// MaxProcs is how many threads of bela may run at once there (GOMAXPROCS).
	MaxProcs int `json:"max_procs,omitempty"`
	// OpenFilesSoft and OpenFilesHard are the login's limits; -1 is unlimited.
	// bela's agent raises its own to the hard one.
	OpenFilesSoft int64 `json:"open_files_soft,omitempty"`
	OpenFilesHard int64 `json:"open_files_hard,omitempty"`
	// LocalPorts are the first and the last port of outgoing connections.
	LocalPorts [2]int `json:"local_ports,omitzero"`
}

// NodeEnvironment is one node of the testbed.
type NodeEnvironment struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Group   string `json:"group,omitempty"` // its node block
	Address string `json:"address"`
	// SSH is how it was reached, as the experiment or the inventory says it:
	// [user@]host[:port]; User is who it then logged in.
	SSH  string `json:"ssh,omitempty"`
	User string `json:"user,omitempty"`
	Host
	Cgroup int `json:"cgroup,omitempty"` // version of its control groups; 0 is none
	// AgentVersion is what the agent said that it is.
	AgentVersion string `json:"agent_version,omitempty"`
	// AgentSHA256 is the hash of the agent's binary, in hex.
	AgentSHA256 string `json:"agent_sha256,omitempty"`
	// PlatformSHA256 is the hash of the built-in platform's, where the plan has
	// built-in components run there.
	PlatformSHA256 string `json:"platform_sha256,omitempty"`
	// HostKey is the fingerprint of the SSH host key that was accepted.
	HostKey string `json:"host_key,omitempty"`
	// ClockOffsetNS is the testbed's time minus the node's at the start.
	ClockOffsetNS *int64 `json:"clock_offset_ns,omitempty"`
	ClockErrorNS  *int64 `json:"clock_error_ns,omitempty"`
	// Generator is what its load generator could do before the run, where that
	// was asked for and it runs devices.
	Generator *Generator `json:"generator,omitempty"`
}

// Generator is a node's load generator as it was calibrated: with a network that
// costs nothing.
type Generator struct {
	// PlannedRate is the largest of all cells, in messages a second, and
	// LatenessP99MS how late the messages were at it; nil where none was sent.
	PlannedRate   float64  `json:"planned_rate_msg_s"`
	LatenessP99MS *float64 `json:"lateness_p99_ms,omitempty"`
	// Rate is the largest that it held.
	Rate float64 `json:"rate_msg_s"`
}
