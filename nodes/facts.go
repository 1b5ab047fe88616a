package nodes

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

//go:embed facts.sh
var factsScript string

// Facts are what a node says about itself. A number that it does not tell is 0.
type Facts struct {
	OS           string `json:"os"`           // "Linux"
	Distribution string `json:"distribution"` // "Debian GNU/Linux 12 (bookworm)"
	Kernel       string `json:"kernel"`       // "6.1.0-18-amd64"
	Hostname     string `json:"hostname"`
	Machine      string `json:"machine"` // as uname -m says: "x86_64"
	// GOARCH and GOARM name the agent's build; GOARCH is empty for a machine
	// that Go does not build for, GOARM is 0 except on 32-bit ARM.
	GOARCH string `json:"goarch"`
	GOARM  int    `json:"goarm,omitempty"`

	CPUs            int    `json:"cpus"` // that this login may use
	CPUModel        string `json:"cpu_model"`
	Memory          int64  `json:"memory_bytes"`
	MemoryAvailable int64  `json:"memory_available_bytes"`
	DiskFree        int64  `json:"disk_free_bytes"` // where bela's directory is or will be

	OpenFilesSoft int64  `json:"open_files_soft"` // -1 is unlimited
	OpenFilesHard int64  `json:"open_files_hard"`
	LocalPorts    [2]int `json:"local_ports"` // first and last of outgoing connections

	UID     int    `json:"uid"`
	User    string `json:"user"`
	Home    string `json:"home"`
	Cgroup  int    `json:"cgroup"` // 1 or 2; 0 is none
	BootID  string `json:"boot_id"`
	Address string `json:"address"` // where other nodes reach it
}

// Facts asks the node about itself, in one command. A node that is not Linux is
// a NotLinux error.
func (n *Node) Facts(ctx context.Context) (Facts, error) {
	dir, err := n.Directory(ctx)
	if err != nil {
		return Facts{}, err
	}
	res, err := n.Run(ctx, Script("ask for facts", factsScript, dir))
	if k := KindOf(err); err != nil && (k != CommandFailed || len(res.Stdout) == 0) {
		if k == CommandFailed {
			return Facts{}, n.fail(NotLinux, fmt.Errorf("it has no POSIX shell: %w", err), "bela runs on Linux nodes only", false)
		}
		return Facts{}, err
	}
	return n.ReadFacts(res.Stdout)
}

// FactsScript is the script that Facts runs, a POSIX shell's, with bela's
// directory as its argument: for a caller that runs it together with others.
func FactsScript() string { return factsScript }

// ReadFacts reads what FactsScript printed on this node. A node that is not
// Linux is a NotLinux error.
func (n *Node) ReadFacts(text []byte) (Facts, error) {
	f, err := parseFacts(text)
	if err != nil {
		return Facts{}, n.fail(CommandFailed, fmt.Errorf("asking for facts: %w", err), "", false)
	}
	if f.OS != "Linux" {
		return f, n.fail(NotLinux, fmt.Errorf("it runs %q", f.OS), "bela runs on Linux nodes only", false)
	}
	f.Address = n.Address()
	return f, nil
}

// parseFacts reads what facts.sh printed. Lines of a login's own greeting and
// unknown keys are passed over.
func parseFacts(text []byte) (Facts, error) {
	values := map[string]string{}
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(string(line)), "="); ok {
			values[key] = oneLine(strings.ToValidUTF8(strings.TrimSpace(value), "?"))
		}
	}
	if values["os"] == "" {
		return Facts{}, errors.New("the node did not say what it runs")
	}
	f := Facts{
		OS:              values["os"],
		Distribution:    values["distribution"],
		Kernel:          values["kernel"],
		Hostname:        values["hostname"],
		Machine:         values["machine"],
		CPUs:            countList(values["cpus"]),
		CPUModel:        values["cpu_model"],
		Memory:          number(values["memory_kib"]) << 10,
		MemoryAvailable: number(values["memory_available_kib"]) << 10,
		DiskFree:        number(values["disk_free_kib"]) << 10,
		OpenFilesSoft:   limit(values["open_files_soft"]),
		OpenFilesHard:   limit(values["open_files_hard"]),
		UID:             int(number(values["uid"])),
		User:            values["user"],
		Home:            values["home"],
		Cgroup:          int(number(values["cgroup"])),
		BootID:          values["boot_id"],
	}
	if p := strings.Fields(values["ports"]); len(p) == 2 {
		f.LocalPorts = [2]int{int(number(p[0])), int(number(p[1]))}
	}
	f.GOARCH, f.GOARM = goArch(f.Machine)
	return f, nil
}

// limit reads a limit; "unlimited" is -1.
func limit(s string) int64 {
	if s == "unlimited" {
		return -1
	}
	return number(s)
}

// countList counts the members of a list as the kernel writes it ("0-3,8"); what is
// none counts 0.
func countList(s string) int {
	count := int64(0)
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 20)
		to, err2 := strconv.ParseUint(last, 10, 20)
		if err1 != nil || err2 != nil || to < from {
			return 0
		}
		count += int64(to-from) + 1
	}
	return int(count)
}

// number reads a count; what is no number is 0.
func number(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 || v > 1<<52 {
		return 0
	}
	return v
}

// goArch translates what uname -m says.
func goArch(machine string) (goarch string, goarm int) {
	switch machine {
	case "x86_64", "amd64":
		return "amd64", 0
	case "aarch64", "arm64":
		return "arm64", 0
	case "armv7l", "armv8l", "armv7": // armv8l is a 64-bit CPU in 32-bit mode
		return "arm", 7
	case "armv6l":
		return "arm", 6
	case "armv5tel", "armv5tejl":
		return "arm", 5
	case "i386", "i486", "i586", "i686":
		return "386", 0
	case "riscv64", "ppc64le", "s390x":
		return machine, 0
	case "loongarch64":
		return "loong64", 0
	}
	return "", 0
}
