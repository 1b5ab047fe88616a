package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endProcesses ends what is left of a lab: first asking, then by force.
func endProcesses(id, dir string, log *slog.Logger) error {
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGTERM, termGrace}, {syscall.SIGKILL, killGrace}} {
		deadline := time.Now().Add(step.grace)
		asked := map[int]bool{}
		for {
			left := findProcesses(id, dir)
			if len(left) == 0 {
				return nil
			}
			for _, pid := range left {
				if !asked[pid] { // children may still come while we look
					asked[pid] = true
					log.Debug("lab: end a process", "pid", pid, "signal", step.signal)
					_ = syscall.Kill(pid, step.signal)
				}
			}
			if time.Now().After(deadline) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return fmt.Errorf("lab: processes %v do not end even when killed", findProcesses(id, dir))
}

// findProcesses gives the processes that have the lab's id in their
// environment or work in its directory. Those that have ended are not among
// them, though their parent may not have noticed.
func findProcesses(id, dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if hasEnv(pid, "BELA_LAB="+id) || worksIn(pid, dir) {
			found = append(found, pid)
		}
	}
	return found
}

// hasEnv looks at the environment that a process was started with.
func hasEnv(pid int, entry string) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false // of another user, or gone
	}
	defer f.Close()                                   //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, 4<<20)) // what execve takes is less
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	return slices.ContainsFunc(bytes.Split(text, []byte{0}), func(e []byte) bool { return string(e) == entry })
}

func worksIn(pid int, dir string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	return cwd == dir || strings.HasPrefix(cwd, dir+string(filepath.Separator))
}
