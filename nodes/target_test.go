package nodes_test

import (
	"strings"
	"testing"

	"bela/nodes"
)

// Hosts come from files and command lines; what is taken must survive being
// written and read again, and hold nothing that steers another program.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a", "a:22", "u@a", "u@[::1]:22", "::1", "[::1]", "fe80::1%eth0", "@", "a:", ":1", "-a", "u@v@a", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := nodes.ParseHost(s)
		if err != nil {
			return
		}
		if strings.HasPrefix(h.Host, "-") || strings.ContainsAny(h.Host+h.User, " \t\r\n\x00") {
			t.Errorf("%q gives %+v", s, h)
		}
		if again, err := nodes.ParseHost(h.String()); err != nil || again != h {
			t.Errorf("%+v writes as %q, which reads as %+v: %v", h, h.String(), again, err)
		}
	})
}
