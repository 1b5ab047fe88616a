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
}

// NodeEnvironment is one node of the testbed.
type NodeEnvironment struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
	Host
	// AgentSHA256 is the hash of the agent's binary, in hex.
	AgentSHA256 string `json:"agent_sha256,omitempty"`
	// HostKey is the fingerprint of the SSH host key that was accepted.
	HostKey string `json:"host_key,omitempty"`
	// ClockOffsetNS is the testbed's time minus the node's at the start.
	ClockOffsetNS *int64 `json:"clock_offset_ns,omitempty"`
	ClockErrorNS  *int64 `json:"clock_error_ns,omitempty"`
}
