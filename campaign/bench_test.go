package campaign_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"bela/event"
)

// BenchmarkController is what the controller itself costs while it measures: ten
// nodes of the lab, each with one sample and one clock probe a second. The lab's
// SSH servers are in the same process and counted too.
func BenchmarkController(b *testing.B) {
	text := fmt.Sprintf(small, "[20]", `node "spare" {
  role  = "worker"
  count = 5
}`)
	for b.Loop() {
		r := newRig(b, text, nil, "measure=20s")
		var from, to time.Duration
		r.events.on = func(e event.Event) {
			if p, ok := e.Data.(event.PhaseStarted); ok {
				switch p.Phase {
				case event.PhaseMeasure:
					from = cpuTime(b)
				case event.PhaseDrain:
					to = cpuTime(b)
				}
			}
		}
		if _, _, err := r.run(b, b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(to-from)/float64(20*time.Second)*100, "%core")
		b.ReportMetric(float64(residentBytes(b))/1e6, "MB")
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentBytes(b *testing.B) int {
	self, err := procfs.Self()
	if err != nil {
		b.Fatal(err)
	}
	status, err := self.NewStatus()
	if err != nil {
		b.Fatal(err)
	}
	return int(status.VmHWM)
}
