package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/lab"
)

// archive is a Debian archive of tiny packages, on disk, and a lab node whose
// apt knows no other. What is installed from it is on this machine.
type archive struct {
	t    *testing.T
	dir  string
	node *nodes.Node
	at   string // bela's directory on the node
}

// tiny is a package.
type tiny struct{ name, depends, postinst, postrm string }

func newArchive(t *testing.T, packages ...tiny) *archive {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("left out: only root can install packages")
	}
	for _, tool := range []string{"apt-get", "dpkg-deb", "dpkg-query"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("left out: %s is not on this machine", tool)
		}
	}
	a := &archive{t: t, dir: t.TempDir()}
	var index strings.Builder
	for _, p := range packages {
		index.WriteString(a.build(p))
	}
	a.write("repo/Packages", index.String(), 0o644)
	a.write("sources.list", "deb [trusted=yes] file:"+a.dir+"/repo ./\n", 0o644)
	a.write("lists/partial/none", "", 0o644)
	a.write("cache/archives/partial/none", "", 0o644)
	a.write("apt.conf", fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s/cache";
APT::Sandbox::User "root";
`, a.dir), 0o644)
	l, err := lab.Start(t.Context(), []lab.Spec{{Name: "worker-1", Env: []string{"APT_CONFIG=" + a.dir + "/apt.conf"}}}, lab.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	tg := l.Targets()[0]
	tg.Directory = "made/bela"
	a.node, a.at = dial(t, tg), filepath.Join(l.Dir(), "worker-1", "made", "bela")
	t.Cleanup(func() { // whatever the test did not get to
		for _, p := range packages {
			_ = exec.Command("dpkg", "--purge", "--force-depends", p.name).Run()
		}
	})
	return a
}

func (a *archive) write(name, text string, mode os.FileMode) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// build makes a package and returns its entry in the index.
func (a *archive) build(p tiny) string {
	a.t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: for a test of bela\n", p.name)
	if p.depends != "" {
		control += "Depends: " + p.depends + "\n"
	}
	a.write(p.name+"/DEBIAN/control", control, 0o644)
	a.write(p.name+"/usr/share/"+p.name+"/here", "yes\n", 0o644)
	for name, script := range map[string]string{"postinst": p.postinst, "postrm": p.postrm} {
		if script != "" {
			a.write(p.name+"/DEBIAN/"+name, "#!/bin/sh\n"+script+"\n", 0o755)
		}
	}
	deb := filepath.Join(a.dir, "repo", p.name+".deb")
	if err := os.MkdirAll(filepath.Dir(deb), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", filepath.Join(a.dir, p.name), deb).CombinedOutput(); err != nil {
		a.t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(deb)
	if err != nil {
		a.t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return fmt.Sprintf("%sFilename: ./%s.deb\nSize: %d\nSHA256: %s\n\n", control, p.name, len(content), hex.EncodeToString(sum[:]))
}

// status is what dpkg says of a package; empty where it knows none.
func status(name string) string {
	out, _ := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status}", name).Output()
	if s := string(out); s != "not-installed" {
		return s
	}
	return ""
}

func userExists(name string) bool { return exec.Command("getent", "passwd", name).Run() == nil }

func aptDeadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // others may hold apt's lock
	t.Cleanup(cancel)
	return ctx
}

// A lent machine must have after a campaign exactly the packages and users that
// it had before; what was there already must stay.
func TestInstallAndRemove(t *testing.T) {
	const user = "bela-test-user"
	a := newArchive(t,
		tiny{name: "bela-test-lib"},
		tiny{
			name: "bela-test-server", depends: "bela-test-lib",
			// As servers do: a user of its own, and a start that policy-rc.d decides on.
			postinst: "useradd --system " + user + " && /usr/sbin/policy-rc.d bela-test-server start; echo $? >/usr/share/bela-test-server/policy",
			postrm:   "rm -rf /usr/share/bela-test-server",
		})
	t.Cleanup(func() { _ = exec.Command("userdel", user).Run() })
	_, before := os.Lstat("/usr/sbin/policy-rc.d")
	if err := Install(aptDeadline(t), a.node, []string{"bela-test-server", "dpkg"}, false); err != nil {
		t.Fatal(err)
	}
	if status("bela-test-server") != "installed" || status("bela-test-lib") != "installed" || !userExists(user) {
		t.Fatal("the packages are not installed")
	}
	if policy, err := os.ReadFile("/usr/share/bela-test-server/policy"); err != nil || strings.TrimSpace(string(policy)) != "101" {
		t.Errorf("a service would have been started: policy-rc.d says %q: %v", policy, err)
	}
	if _, after := os.Lstat("/usr/sbin/policy-rc.d"); (before == nil) != (after == nil) {
		t.Error("policy-rc.d is not as it was")
	}
	if err := Install(aptDeadline(t), a.node, []string{"bela-test-server"}, false); err != nil {
		t.Errorf("installed again: %v", err)
	}
	left, err := Leftovers(deadline(t), a.node)
	if text := strings.Join(left, "\n"); err != nil || !strings.Contains(text, "package bela-test-server") || !strings.Contains(text, "package bela-test-lib") {
		t.Errorf("left-overs %q: %v", left, err)
	}
	if err := Remove(aptDeadline(t), a.node, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bela-test-server", "bela-test-lib"} {
		if s := status(name); s != "" {
			t.Errorf("%s is still %s", name, s)
		}
	}
	if userExists(user) || status("dpkg") != "installed" {
		t.Error("the user is still there, or dpkg is gone")
	}
	clean(t, a.node, a.at)
}

// What a user asked to keep stays, and so does what another package needs by
// the time that the node is cleaned: that is an error with names.
func TestInstalledPackagesThatStay(t *testing.T) {
	a := newArchive(t, tiny{name: "bela-test-lib"}, tiny{name: "bela-test-server", depends: "bela-test-lib"})
	if err := Install(aptDeadline(t), a.node, []string{"bela-test-lib"}, false); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dpkg", "-i", filepath.Join(a.dir, "repo", "bela-test-server.deb")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	is(t, Remove(aptDeadline(t), a.node, RemoveOptions{}), nodes.CommandFailed, "bela-test-lib", "bela-test-server needs them by now")
	if out, err := exec.Command("dpkg", "--purge", "bela-test-server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := Remove(aptDeadline(t), a.node, RemoveOptions{}); err != nil || status("bela-test-lib") != "" {
		t.Fatalf("removed at last: %q, %v", status("bela-test-lib"), err)
	}
	if err := Install(aptDeadline(t), a.node, []string{"bela-test-lib"}, true); err != nil {
		t.Fatal(err)
	}
	if err := Remove(aptDeadline(t), a.node, RemoveOptions{}); err != nil || status("bela-test-lib") != "installed" {
		t.Errorf("a package to keep: %q, %v", status("bela-test-lib"), err)
	}
	clean(t, a.node, a.at)
}

// A package that cannot be installed must say why in apt's words, and half of it
// must not stay.
func TestPackageThatCannotBeInstalled(t *testing.T) {
	a := newArchive(t,
		tiny{name: "bela-test-broken", postinst: "echo cannot find the licence >&2; exit 1"},
		tiny{name: "bela-test-lonely", depends: "bela-test-missing"})
	is(t, Install(aptDeadline(t), a.node, []string{"bela-test-nowhere"}, false), nodes.CommandFailed, "could not install bela-test-nowhere", "Unable to locate package")
	is(t, Install(aptDeadline(t), a.node, []string{"bela-test-lonely"}, false), nodes.CommandFailed, "bela-test-missing")
	is(t, Install(aptDeadline(t), a.node, []string{"bela-test-broken"}, false), nodes.CommandFailed, "could not install bela-test-broken", "error")
	if err := Remove(aptDeadline(t), a.node, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := status("bela-test-broken"); s != "" {
		t.Errorf("the broken package is %s", s)
	}
	clean(t, a.node, a.at)
}

// Ctrl-C while packages are installed must not leave half of one on a lent machine.
func TestInstallationThatIsCutShort(t *testing.T) {
	const marker = "/usr/share/bela-test-slow/busy"
	a := newArchive(t, tiny{
		name:     "bela-test-slow",
		postinst: "[ -e " + marker + " ] || { touch " + marker + "; sleep 120; }",
		postrm:   "rm -rf /usr/share/bela-test-slow",
	})
	ctx, cancel := context.WithCancel(aptDeadline(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Install(ctx, a.node, []string{"bela-test-slow"}, false) }()
	for _, err := os.Stat(marker); err != nil; _, err = os.Stat(marker) {
		select {
		case err := <-done:
			t.Fatalf("it ended before it was cut: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("an installation that was cut short says that all is well")
	}
	if err := Remove(aptDeadline(t), a.node, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := status("bela-test-slow"); s != "" {
		t.Errorf("the package is %s", s)
	}
	clean(t, a.node, a.at)
}

// Many cells share an artifact: it is copied once, and never another file than
// the experiment means.
func TestPushArtifact(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		content := []byte("a broker's release")
		sum := sha256.Sum256(content)
		name := hex.EncodeToString(sum[:])
		local := filepath.Join(t.TempDir(), "release")
		if err := os.WriteFile(local, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := PushArtifact(deadline(t), n, local, strings.Repeat("0", 64))
		is(t, err, nodes.BadConfig, local, "has the SHA-256 "+name)
		_, err = PushArtifact(deadline(t), n, local+".missing", name)
		is(t, err, nodes.BadConfig, "no such file")
		clean(t, n, dir)
		for _, want := range []bool{true, false} {
			if pushed, err := PushArtifact(deadline(t), n, local, name); err != nil || pushed != want {
				t.Fatalf("pushed %v: %v; want %v", pushed, err, want)
			}
		}
		if got, err := os.ReadFile(filepath.Join(dir, "artifacts", name)); err != nil || string(got) != string(content) {
			t.Errorf("on the node: %q, %v", got, err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		clean(t, n, dir)
	})
}
