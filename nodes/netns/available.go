package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Available says why no bed can be made here, or nil.
func Available() error {
	if runtime.GOOS != "linux" {
		return errors.New("testbed: needs Linux")
	}
	if os.Getuid() != 0 {
		return errors.New("testbed: needs root, for namespaces and links")
	}
	var missing []string
	for _, tool := range [][2]string{{"ip", "iproute2"}, {"tc", "iproute2"}, {"nft", "nftables"}, {"unshare", "util-linux"},
		{"nsenter", "util-linux"}, {"mount", "mount"}, {sshd, "openssh-server"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian: %s)", tool[0], tool[1]))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("testbed: missing here: %s", strings.Join(missing, ", "))
	}
	return nil
}
