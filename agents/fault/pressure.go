package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"bela/agents/protocol"
)

// pressure uses up CPU and memory in the holder's own process. It competes like
// any other process: it has no priority, higher or lower.
type pressure struct {
	spec protocol.PressureFault
	held [][]byte
}

const (
	// chunk of memory is taken at once, between two looks at what is left.
	chunk = 16 << 20
	// leastMargin of memory stays free, and a sixteenth of all: a node that runs
	// out of it has the kernel kill what the experiment measures.
	leastMargin = 256 << 20
	marginShare = 16
	// touchEvery is how often held memory is used, so that it is not swapped out.
	touchEvery = time.Second
)

func (p *pressure) check(context.Context) error {
	if p.spec.CPU <= 0 && p.spec.Memory <= 0 {
		return errors.New("there is nothing to use up")
	}
	if all := 1000 * runtime.NumCPU(); p.spec.CPU > all {
		return fmt.Errorf("%dm of CPU are asked for, and the node has %dm", p.spec.CPU, all)
	}
	return room(p.spec.Memory)
}

// room says whether so much memory can be taken and the margin stays.
func room(bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	available, total, err := memory()
	if err != nil {
		return fmt.Errorf("how much memory is left is not known, so none is taken: %w", err)
	}
	margin := max(total/marginShare, leastMargin)
	if available-bytes < margin {
		return fmt.Errorf("%d MiB of memory are asked for, %d MiB are available, and %d MiB must stay so that nothing is killed for want of it: ask for %d MiB at most",
			bytes>>20, available>>20, margin>>20, max(available-margin, 0)>>20)
	}
	return nil
}

func memory() (available, total int64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	m, err := fs.Meminfo()
	if err != nil {
		return 0, 0, err
	}
	if m.MemAvailableBytes == nil || m.MemTotalBytes == nil {
		return 0, 0, errors.New("/proc/meminfo does not say what is available")
	}
	return int64(*m.MemAvailableBytes), int64(*m.MemTotalBytes), nil
}

func (p *pressure) before(context.Context) string {
	if p.spec.Memory <= 0 {
		return ""
	}
	available, _, err := memory()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("memory available before: %d MiB", available>>20)
}

// remedy is empty: what is used up ends with the process.
func (p *pressure) remedy() remedy { return remedy{} }

// apply takes the memory. The CPU is used from during on.
func (p *pressure) apply(ctx context.Context) error {
	if p.spec.Memory <= 0 {
		return nil
	}
	// Should memory end all the same, this process is the one to go.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return fmt.Errorf("memory is only taken where this process would be the first to be killed: %w", err)
	}
	for left := p.spec.Memory; left > 0; left -= chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		size := min(left, chunk)
		if err := room(size); err != nil {
			return err
		}
		b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("take %d MiB of memory: %w", size>>20, err)
		}
		p.held = append(p.held, b)
		touch(b)
	}
	return nil
}

// touch writes to each page, with something else on each, so that pages are not
// merged into one.
func touch(b []byte) {
	page := os.Getpagesize()
	for i := 0; i < len(b); i += page {
		b[i]++
		b[i+page/2] = byte(i / page)
	}
}

// during uses the CPU until ctx ends and says how much it got.
func (p *pressure) during(ctx context.Context) string {
	var tasks sync.WaitGroup
	if p.spec.Memory > 0 {
		tasks.Go(func() { p.keepTouched(ctx) })
	}
	began, used := time.Now(), make([]time.Duration, (p.spec.CPU+999)/1000)
	for i := range used {
		share := float64(p.spec.CPU) / 1000 / float64(len(used))
		tasks.Go(func() { used[i] = burn(ctx, share) })
	}
	tasks.Wait()
	took := time.Since(began)
	text := ""
	if p.spec.CPU > 0 {
		var sum time.Duration
		for _, u := range used {
			sum += u
		}
		text = fmt.Sprintf("CPU used: %.0fm of %dm", 1000*sum.Seconds()/took.Seconds(), p.spec.CPU)
	}
	if p.spec.Memory > 0 {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("memory held: %d MiB", p.spec.Memory>>20)
		for _, b := range p.held {
			_ = unix.Munmap(b)
		}
	}
	return text
}

func (p *pressure) keepTouched(ctx context.Context) {
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, b := range p.held {
			touch(b)
		}
	}
}

// How a share of a CPU is used: in turns, by what the thread was given so far.
const (
	turn = 10 * time.Millisecond
	// maxDebt is how much of what others took is caught up with later.
	maxDebt = 50 * time.Millisecond
)

// burn uses a share of one CPU until ctx ends, and returns what it used.
func burn(ctx context.Context, share float64) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	base := threadTime()
	began, forgiven := time.Now(), time.Duration(0)
	for ctx.Err() == nil {
		due := time.Duration(share*float64(time.Since(began))) - forgiven
		if debt := due - (threadTime() - base); debt > maxDebt {
			forgiven += debt - maxDebt
			due -= debt - maxDebt
		}
		for threadTime()-base < due && ctx.Err() == nil {
			for range 10_000 { // some microseconds between two looks
				spin()
			}
		}
		if share < 1 {
			time.Sleep(turn)
		}
	}
	return threadTime() - base
}

// spin is work that the compiler does not take out.
//
//go:noinline
func spin() {}

// threadTime is the CPU time of this thread.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
