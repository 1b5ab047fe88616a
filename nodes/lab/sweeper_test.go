package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/lab"
)

// TestHoldLab is not a test: it is the process that TestSweeper kills.
func TestHoldLab(t *testing.T) {
	if os.Getenv("BELA_TEST_HOLD_LAB") == "" {
		return
	}
	l, err := lab.Start(context.Background(), []lab.Spec{{Name: "worker-1"}}, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := nodes.Dial(context.Background(), l.Targets()[0])
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.Run(context.Background(), nodes.Script("detach", "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("held %s %s\n", l.Dir(), strings.TrimSpace(string(res.Stdout)))
	time.Sleep(time.Hour)
}

// A controller that is killed can clean nothing up itself: neither a detached
// process of its lab nor the lab's directory may stay.
func TestSweeper(t *testing.T) {
	holder := exec.Command(os.Args[0], "-test.run=^TestHoldLab$")
	holder.Env = append(os.Environ(), "BELA_TEST_HOLD_LAB=1")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var pid int
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n, _ := fmt.Sscanf(lines.Text(), "held %s %d", &dir, &pid); n == 2 {
			break
		}
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if pid == 0 {
		t.Fatal("the lab did not start")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, statErr := os.Stat(dir)
		if os.IsNotExist(statErr) && syscall.Kill(pid, 0) == syscall.ESRCH {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("20 s later: directory %v, process %v", statErr, syscall.Kill(pid, 0))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
