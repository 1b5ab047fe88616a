package netns

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // the first process's script
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed init.sh
var initScript []byte

// holder is the first process of a namespace.
type holder struct {
	pid   int
	cmd   *exec.Cmd
	life  *os.File // the process ends when this is closed
	out   *bufio.Reader
	ended chan struct{}
	once  sync.Once
}

// hold starts the first process of a node, or of the switch where dir is empty,
// and waits until its view is made. groups are the control groups it joins.
func (b *Bed) hold(ctx context.Context, name, dir string, groups []string) (*holder, error) {
	stage, keep := "outside", "owned"
	flags := uintptr(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID)
	if dir == "" {
		stage, flags = "switch", syscall.CLONE_NEWNET|syscall.CLONE_NEWPID
	}
	if b.options.Keep {
		keep = "keep"
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	cmd := exec.Command("/bin/sh", append([]string{filepath.Join(b.dir, "init.sh"), stage, dir, name, keep}, groups...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", nameVariable + "=" + b.name}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{read}
	cmd.Stdout = outWrite
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err == nil {
		cmd.Stderr = log
		err = cmd.Start()
		_ = log.Close()
	}
	_, _ = read.Close(), outWrite.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), write.Close(), outRead.Close())
	}
	h := &holder{pid: cmd.Process.Pid, cmd: cmd, life: write, out: bufio.NewReader(outRead), ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // killed, or its owner's end was closed
		_ = outRead.Close()
		close(h.ended)
	}()
	if err := h.await(ctx, "ready"); err != nil {
		h.end()
		return nil, fmt.Errorf("%s: %w: %s", name, err, tail(filepath.Join(b.dir, name+".log")))
	}
	return h, nil
}

// await waits for a line of the process's.
func (h *holder) await(ctx context.Context, want string) error {
	lines := make(chan error, 1)
	go func() {
		line, err := h.out.ReadString('\n')
		if got := strings.TrimSpace(line); err == nil && got != want {
			err = fmt.Errorf("it said %q", got)
		}
		lines <- err
	}()
	select {
	case err := <-lines:
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			err = errors.New("it ended")
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting until it is %s: %w", want, context.Cause(ctx))
	}
}

// goOn lets the process do what comes next.
func (h *holder) goOn() error {
	_, err := io.WriteString(h.life, "\n")
	return err
}

// end kills the process and all others of its namespace.
func (h *holder) end() {
	if h == nil {
		return
	}
	h.once.Do(func() {
		_ = h.cmd.Process.Kill()
		<-h.ended
		_ = h.life.Close()
	})
}

// tail gives the end of a log as one line.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(bytes.Join(bytes.Fields(text[max(0, len(text)-1000):]), []byte(" ")))
}

// run runs a command and returns what it printed; the error has the end of its
// standard error.
func run(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second // what it left in the background may hold its output
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Args[0]), err, strings.Join(strings.Fields(errs.String()), " "))
	}
	return out.String(), nil
}
