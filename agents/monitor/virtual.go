package monitor

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Virtual names the container or hypervisor that this machine is, of the
// machine whose files are below root: "docker", "kvm". It is empty on bare
// metal and where nothing tells; "vm" is a hypervisor that does not name itself.
func Virtual(root string) string {
	for file, name := range map[string]string{".dockerenv": "docker", "run/.containerenv": "podman"} {
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			return name
		}
	}
	if name := word(root, "run/systemd/container"); name != "" {
		return name
	}
	if name := word(root, "sys/hypervisor/type"); name != "" {
		return name
	}
	maker := strings.ToLower(word(root, "sys/class/dmi/id/sys_vendor") + " " + word(root, "sys/class/dmi/id/product_name"))
	for _, v := range []struct{ sign, name string }{
		{"amazon ec2", "amazon"}, {"google compute engine", "google"}, {"microsoft corporation virtual machine", "microsoft"},
		{"vmware", "vmware"}, {"virtualbox", "oracle"}, {"xen", "xen"}, {"kvm", "kvm"}, {"qemu", "kvm"}, {"openstack", "kvm"},
		{"digitalocean", "kvm"}, {"hetzner", "kvm"}, {"parallels", "parallels"}, {"bhyve", "bhyve"},
	} {
		// A cloud's bare metal has the cloud's name on it too.
		if strings.Contains(maker, v.sign) && !strings.Contains(maker, ".metal") {
			return v.name
		}
	}
	if cpu := read(root, "proc/cpuinfo"); bytes.Contains(cpu, []byte(" hypervisor ")) || bytes.Contains(cpu, []byte(" hypervisor\n")) {
		return "vm"
	}
	return ""
}

// word is a short file's text.
func word(root, file string) string {
	text := strings.TrimSpace(string(read(root, file)))
	if len(text) > 100 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	return strings.ToValidUTF8(text, "?")
}

// read is the beginning of a file; nothing where there is none.
func read(root, file string) []byte {
	f, err := os.Open(filepath.Join(root, file))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return text
}
