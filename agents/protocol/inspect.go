package protocol

import "time"

// What an agent is asked that serves no run: to look at its node and to try
// the ways to others. Nothing of it lasts beyond the connection but what
// TypeSetSysctl sets.
const (
	TypeInspect    Type = "inspect"
	TypeListen     Type = "inspect.listen"
	TypeDial       Type = "inspect.dial"
	TypeSetSysctl  Type = "inspect.sysctl.set"
	TypeUndoSysctl Type = "inspect.sysctl.undo"
)

// InspectSpec asks what a node is and has.
type InspectSpec struct {
	// Directory is bela's on the node; it need not exist.
	Directory string `json:"directory"`
	// Undo is the file in which TypeSetSysctl keeps what was before.
	Undo string `json:"undo"`
	// Window is over which load is watched.
	Window time.Duration `json:"window"`
	// Limits asks to try whether what is started can be limited.
	Limits bool `json:"limits,omitempty"`
}

// Inspection is what a node is and has. A number that it does not tell is 0,
// and a limit that there is not is -1.
type Inspection struct {
	UID       int             `json:"uid"`
	Uptime    time.Duration   `json:"uptime"`
	Clock     KernelClock     `json:"clock"`
	Disk      Disk            `json:"disk"`
	Memory    MemoryFacts     `json:"memory"`
	Files     FileLimits      `json:"files"`
	Tasks     TaskLimits      `json:"tasks"`
	Network   NetworkFacts    `json:"network"`
	Cgroup    *CgroupFacts    `json:"cgroup,omitempty"` // nil where it was not asked for
	Load      LoadFacts       `json:"load"`
	Governors []string        `json:"governors,omitempty"` // of CPU frequency, each once
	Watched   []WatchedTask   `json:"watched,omitempty"`
	Agents    []ForeignAgent  `json:"agents,omitempty"`
	Undo      []SysctlSetting `json:"undo,omitempty"` // that an earlier TypeSetSysctl left in force
}

// KernelClock is what the kernel says of its clock.
type KernelClock struct {
	Synchronized bool          `json:"synchronized"`
	MaxError     time.Duration `json:"max_error"` // by the kernel's own account
	// Frequency is the correction that is in force, in parts per million.
	Frequency float64 `json:"frequency_ppm"`
	// Daemon is the process that keeps the time; empty where none is seen.
	Daemon string `json:"daemon,omitempty"`
}

// Disk is the file system of bela's directory.
type Disk struct {
	Path   string `json:"path"` // the nearest directory that exists
	Free   int64  `json:"free_bytes"`
	Inodes int64  `json:"inodes_free"` // -1 where the file system counts none
	// InMemory says that it is no disk at all: tmpfs or ramfs.
	InMemory bool `json:"in_memory,omitempty"`
}

// MemoryFacts are a node's memory and swap, in bytes.
type MemoryFacts struct {
	Total     int64 `json:"total_bytes"`
	Available int64 `json:"available_bytes"`
	SwapUsed  int64 `json:"swap_used_bytes"`
	// SwapMoved is what went in or out of swap within the window.
	SwapMoved int64 `json:"swap_moved_bytes"`
	// Pressure is the share of the last ten seconds, in percent, in which
	// something waited for memory; nil where the kernel does not tell.
	Pressure *float64 `json:"pressure_percent,omitempty"`
}

// FileLimits are how many files may be open: in one process of this login, and
// on the node.
type FileLimits struct {
	Hard       int64 `json:"hard"`
	System     int64 `json:"system"`
	SystemOpen int64 `json:"system_open"`
}

// TaskLimits are how many threads there may be, and how many there are.
type TaskLimits struct {
	User    int64 `json:"user"` // of this login (ulimit -u)
	UserNow int64 `json:"user_now"`
	System  int64 `json:"system"` // the lower of kernel.pid_max and kernel.threads-max
	Now     int64 `json:"now"`
	Group   int64 `json:"group"` // of the login's control group (pids.max)
	// GroupNow is how many its control group has.
	GroupNow int64 `json:"group_now"`
}

// NetworkFacts are the limits of the node's network stack.
type NetworkFacts struct {
	LocalPorts [2]int `json:"local_ports"` // first and last of outgoing connections
	// TimeWaitReuse is net.ipv4.tcp_tw_reuse: 0 never, 1 always, 2 on loopback.
	TimeWaitReuse int   `json:"time_wait_reuse"`
	TimeWait      int64 `json:"time_wait"` // sockets
	Somaxconn     int64 `json:"somaxconn"`
	SynBacklog    int64 `json:"syn_backlog"`
	SynCookies    int   `json:"syn_cookies"`
	// ConntrackMax is 0 where connections are not tracked.
	ConntrackMax int64 `json:"conntrack_max"`
	Conntrack    int64 `json:"conntrack"`
}

// CgroupFacts say whether this login can limit what it starts.
type CgroupFacts struct {
	Version int `json:"version"` // 1 or 2; 0 is none
	// By is what would enforce limits, as in ComponentStarted.LimitsBy.
	By string `json:"by,omitempty"`
	// Error says why it cannot; empty where it can.
	Error string `json:"error,omitempty"`
}

// LoadFacts are what went on while the node was watched.
type LoadFacts struct {
	Window time.Duration `json:"window"`
	CPUs   int           `json:"cpus"`
	Busy   float64       `json:"busy"`  // share of all CPUs, without this process
	Steal  float64       `json:"steal"` // share of all CPUs
	Load1  float64       `json:"load1"`
	// Busiest are the processes that took most, this one left out.
	Busiest []BusyTask `json:"busiest,omitempty"`
}

// BusyTask is a process that took CPU.
type BusyTask struct {
	PID  int     `json:"pid"`
	Name string  `json:"name"`
	CPUs float64 `json:"cpus"` // 1 is one CPU for the whole window
}

// WatchedTask is a process that is known to disturb: a package manager at work.
type WatchedTask struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// ForeignAgent is an agent that runs on the machine and serves a run.
type ForeignAgent struct {
	PID       int           `json:"pid"`
	Directory string        `json:"directory"`
	Run       string        `json:"run"`
	Age       time.Duration `json:"age"`
}

// ListenSpec asks for listeners, which stay until the connection ends. Each
// answers a connection that shows Token.
type ListenSpec struct {
	Token     string   `json:"token"`
	Addresses []string `json:"addresses"` // host:port
}

// Listening says, for each address asked for and in that order, whether it is
// listened on.
type Listening struct {
	Listeners []Listener `json:"listeners"`
}

// Listener is one address that was to be listened on.
type Listener struct {
	Address string `json:"address"`
	// Error is why it is not listened on; empty where it is.
	Error string `json:"error,omitempty"`
	// Code is one of the Listen constants; empty where it is listened on.
	Code string `json:"code,omitempty"`
	// Holder is the process that listens there: "mosquitto (pid 812, user 104)";
	// empty where it cannot be seen.
	Holder string `json:"holder,omitempty"`
}

// Why an address cannot be listened on.
const (
	ListenTaken   = "taken"
	ListenForeign = "foreign" // no address of this node
	ListenDenied  = "denied"
	ListenFailed  = "failed"
)

// DialSpec asks to connect to listeners of other nodes.
type DialSpec struct {
	Token string `json:"token"`
	// Bind is the address to send from; empty is the kernel's choice.
	Bind      string        `json:"bind,omitempty"`
	Addresses []string      `json:"addresses"`
	Timeout   time.Duration `json:"timeout"` // of each
}

// Dialled says, for each address asked for and in that order, what came of it.
type Dialled struct {
	Ways []Way `json:"ways"`
}

// Way is a connection that was tried.
type Way struct {
	Address string `json:"address"`
	// Code is one of the Way constants; empty where all is well.
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	// Took is from the first packet to the connection.
	Took time.Duration `json:"took"`
	// MTU is what the kernel takes for the path's; 0 where it does not tell.
	MTU int `json:"mtu,omitempty"`
}

// What can be wrong with a way.
const (
	WayRefused = "refused" // something said no: nobody listens, or a firewall rejects
	WaySilent  = "silent"  // no answer: a firewall drops, or there is no route back
	WayNoRoute = "no_route"
	WayStuck   = "stuck"     // connected, but full packets do not come through
	WayOther   = "other_end" // somebody else answered
	WayFailed  = "failed"
)

// SysctlSetting is a kernel parameter with the value before and after.
type SysctlSetting struct {
	Name string `json:"name"` // "net.core.somaxconn"
	Old  string `json:"old,omitempty"`
	New  string `json:"new"`
}

// SetSysctlSpec asks to set kernel parameters, after the old values have been
// written into Undo, a file that is also a shell script.
type SetSysctlSpec struct {
	Undo     string          `json:"undo"`
	By       string          `json:"by"` // who wants it, for the file
	Settings []SysctlSetting `json:"settings"`
}

// UndoSysctlSpec asks to put back what Undo says and to remove it.
type UndoSysctlSpec struct {
	Undo string `json:"undo"`
}

// SysctlOutcome says what became of each parameter.
type SysctlOutcome struct {
	Settings []SysctlSetting `json:"settings"` // those that were changed
	// Kept are those that were left alone, with the reason.
	Kept []string `json:"kept,omitempty"`
}
