package monitor

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// If this failed, the generator's own use would be missing from the results,
// where it tells whether a node had room.
func TestProcessUse(t *testing.T) {
	p := NewProcess()
	before := p.Sample()
	for sum := 0; p.Sample().CPUNS-before.CPUNS < 20_000_000; sum++ { // until it shows
		_ = strings.Repeat("x", sum%1000)
	}
	if before.CPUNS < 0 || before.Memory < 1<<20 || before.Goroutines < 1 {
		t.Errorf("%+v", before)
	}
}

// If this failed, an agent that its garbage collector stops all the time would
// pass for one that is on time.
func TestProcessSeesGarbageCollection(t *testing.T) {
	p := NewProcess()
	before := p.Sample()
	for range 20 {
		runtime.GC()
	}
	s := p.Sample()
	paused := s.GCPauseNS - before.GCPauseNS
	if paused <= 0 || s.GCPauseMaxNS <= 0 || s.GCPauseMaxNS > paused {
		t.Errorf("20 collections stopped the process for %d ns, at most %d ns at once", paused, s.GCPauseMaxNS)
	}
	// Nothing collected since: the longest pause is of this interval only. A
	// collection may come by itself, so look until one does not.
	for deadline := time.Now().Add(10 * time.Second); ; {
		before, s := p.Sample(), p.Sample()
		if s.GCPauseNS == before.GCPauseNS && s.GCPauseMaxNS == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the longest pause stays at %d ns", s.GCPauseMaxNS)
		}
	}
}

// If this failed, goroutines that wait for a thread, the sign of an agent with
// too few CPUs, would not show.
func TestProcessSeesWaitingGoroutines(t *testing.T) {
	p := NewProcess()
	if s := p.Sample(); s.SchedulingP99NS != nil {
		t.Errorf("the first sample knows a latency of %d ns since the last one", *s.SchedulingP99NS)
	}
	// More busy goroutines than threads: some must wait for a whole time slice.
	quit := make(chan struct{})
	defer close(quit)
	for range 20 * runtime.GOMAXPROCS(0) {
		go func() {
			for n := 0; ; n++ {
				if n&0xfffff == 0 {
					select {
					case <-quit:
						return
					default:
						runtime.Gosched()
					}
				}
			}
		}()
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		s := p.Sample()
		if s.SchedulingP99NS != nil && *s.SchedulingP99NS > 200_000 && s.Goroutines > 20*runtime.GOMAXPROCS(0) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", s)
		}
	}
}

// If this failed, the scheduling latency would be another second's, or made up.
func TestQuantile(t *testing.T) {
	edges := []float64{0, 1e-6, 2e-6, 4e-6}
	ns := func(v int64) *int64 { return &v }
	for _, tt := range []struct {
		name   string
		before []uint64
		now    []uint64
		want   *int64
	}{
		{"99 of 100 in the first bucket: rank 99 is its upper edge", []uint64{0, 0, 0}, []uint64{99, 0, 1}, ns(1000)},
		{"98 of 100: rank 99 is in the last", []uint64{0, 0, 0}, []uint64{98, 0, 2}, ns(4000)},
		{"only what was gained counts", []uint64{1000, 0, 0}, []uint64{1000, 3, 0}, ns(2000)},
		{"nothing was gained", []uint64{5, 5, 5}, []uint64{5, 5, 5}, nil},
		{"another histogram", []uint64{5}, []uint64{5, 5, 5}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := quantile(&metrics.Float64Histogram{Counts: tt.now, Buckets: edges}, tt.before, 0.99)
			if (got == nil) != (tt.want == nil) || got != nil && (*got < *tt.want-1 || *got > *tt.want+1) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// If this failed, two runs would look alike of which one was on bare metal and
// the other in a virtual machine.
func TestVirtual(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"bare metal", map[string]string{"proc/cpuinfo": "flags\t: fpu vmx\n", "sys/class/dmi/id/sys_vendor": "Dell Inc.\n", "sys/class/dmi/id/product_name": "PowerEdge R740\n"}, ""},
		{"nothing tells", nil, ""},
		{"QEMU", map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n", "sys/class/dmi/id/product_name": "Standard PC\n"}, "kvm"},
		{"EC2", map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m5.large\n"}, "amazon"},
		{"EC2's bare metal", map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m5.metal\n"}, ""},
		{"Microsoft's own laptop is none", map[string]string{"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "sys/class/dmi/id/product_name": "Surface Laptop\n"}, ""},
		{"only the CPU tells", map[string]string{"proc/cpuinfo": "flags\t: fpu hypervisor lahf_lm\n"}, "vm"},
		{"the CPU tells at the line's end", map[string]string{"proc/cpuinfo": "flags\t: fpu hypervisor\n"}, "vm"},
		{"a container in a virtual machine is a container", map[string]string{".dockerenv": "", "proc/cpuinfo": "flags\t: hypervisor \n"}, "docker"},
		{"systemd's word", map[string]string{"run/systemd/container": "lxc\n"}, "lxc"},
		{"a file of something else", map[string]string{"run/systemd/container": "a\nb"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := Virtual(root); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
