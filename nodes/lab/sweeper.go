package lab

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// sweepScript waits for the end of its input, which is the end of the process
// that holds the lab, however it ended. Then it does what Close would have
// done: it ends the lab's processes, first asking, and removes the directory. To
// look for them starts two programs, however many processes there are.
const sweepScript = `
read -r _
mine() { grep -lzxF -e "BELA_LAB=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
for signal in TERM TERM TERM TERM TERM TERM TERM TERM TERM TERM KILL KILL; do
	pids=$(mine "$1")
	[ -n "$pids" ] || break
	kill -s "$signal" $pids 2>/dev/null
	sleep 0.5
done
rm -rf -- "$2"
`

// sweeper is a small process that cleans up after a lab whose own process was
// killed.
type sweeper struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startSweeper(id, dir string) (*sweeper, error) {
	cmd := exec.Command("/bin/sh", "-c", sweepScript, "bela-lab-sweeper", id, dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	// A Ctrl-C in the terminal is for the lab's process, not for this one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the sweeper: %w", err)
	}
	return &sweeper{cmd, in}, nil
}

// stop ends the sweeper once there is nothing left to sweep.
func (s *sweeper) stop() error {
	err := s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed; this closes its input too
	return err
}
