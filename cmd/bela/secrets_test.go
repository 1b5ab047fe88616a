package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bela/campaign"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/netns/snapshot"
)

const plantedToken, plantedPassword = "planted-influx-token-4711", "planted-component-password-4711"

// secretive is the quick experiment with a token for InfluxDB, and a component
// that is given a password.
func secretive(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(shipped(t, "quick.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "secretive.hcl")
	write(t, path, string(text)+`
variable "password" {
  sensitive = true
}
component "feed" {
  command = ["/bin/sleep", "600"]
  on      = node.worker
  env     = { FEED_PASSWORD = var.password }
}
influxdb {
  url    = "http://127.0.0.1:9"
  org    = "bela"
  bucket = "bela"
  token  = env("INFLUX_TOKEN")
}
`)
	return path
}

// A lent machine has other users, and a run directory is handed round: neither
// may hold what the experiment was told in confidence, nor the run's own
// passwords; and nobody else may reach the agent or the platform.
func TestSecretsAndStrangers(t *testing.T) {
	needAgents(t)
	if err := netns.Available(); err != nil {
		bedtest.Up(t, netns.Options{}) // says so
	}
	t.Parallel()
	r := startOnBedWith(t, []string{"INFLUX_TOKEN=" + plantedToken}, secretive(t), "-var", "measure=30s", "-var", "password="+plantedPassword)
	r.measuring(t)
	worker := r.worker(t)
	secrets := append(platformPasswords(t, worker), plantedToken)
	for _, n := range r.bed.Nodes() {
		noSecretsShown(t, n, append(secrets, plantedPassword))
		onlyBelaMayEnter(t, n)
	}
	strangersRefused(t, worker, r.node(t, "iot-1"))
	r.ended(t, campaign.Done, campaign.Incomplete)
	noSecretIn(t, "what bela printed", []byte(r.out.String()), append(secrets, plantedPassword))
	noSecretBelow(t, filepath.Join(r.dir, "results"), append(secrets, plantedPassword))
	if found := r.differences(t, 10*time.Second); len(found) > 0 {
		t.Errorf("left on the nodes: %v", found)
	}
}

// platformPasswords reads those that the run made, where the components do.
func platformPasswords(t *testing.T, n *netns.Node) []string {
	t.Helper()
	files, err := filepath.Glob(n.Path("/root/.bela*/cells/*/*/config.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no component has a configuration: %v", err)
	}
	var found []string
	for _, file := range files {
		var config map[string]any
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		for name, v := range config {
			if s, ok := v.(string); ok && strings.EqualFold(name, "password") && len(s) >= 8 {
				found = append(found, s)
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("the platform has no passwords: anybody can get in")
	}
	return found
}

func noSecretIn(t *testing.T, where string, text []byte, secrets []string) {
	t.Helper()
	for i, s := range secrets {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("secret %d is in %s", i, where)
		}
	}
}

// noSecretsShown looks at what other users of the node can see: command lines,
// and files that are not the owner's alone.
func noSecretsShown(t *testing.T, n *netns.Node, secrets []string) {
	t.Helper()
	processes, err := n.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		noSecretIn(t, n.Name()+": a command line", []byte(strings.Join(p.Args, " ")), secrets)
		environmentIsClosed(t, n, p, secrets)
	}
	logs, _ := filepath.Glob(n.Path("/root/.bela*/run/*.log"))
	more, _ := filepath.Glob(n.Path("/root/.bela*/cells/*/*.log"))
	for _, file := range append(logs, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		noSecretIn(t, n.Name()+": "+filepath.Base(file), text, secrets)
	}
}

// environmentIsClosed has another user of the node try to read what a process of
// bela's was started with, and demands that the run's own passwords are not even
// there: only what the experiment itself hands to a component.
func environmentIsClosed(t *testing.T, n *netns.Node, p netns.Process, secrets []string) {
	t.Helper()
	args := strings.Join(p.Args, " ")
	if p.Inside <= 1 || !strings.Contains(args, "bela-agent") && !strings.Contains(args, "bela-platform") && !strings.Contains(p.Args[0], "/bin/sleep") {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	file := fmt.Sprintf("/proc/%d/environ", p.Inside)
	if text, err := n.Run(ctx, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", file); err == nil && text != "" {
		t.Errorf("%s: another user reads the environment of %v", n.Name(), p.Args)
	}
	text, err := n.Run(ctx, "cat", file) // as the login: it shows that there is something to read
	if guard := slices.Contains(p.Args, "guard"); err == nil && guard && text == "" {
		return // it is started with none
	}
	if err != nil || !strings.Contains(text, "PATH=") {
		t.Errorf("%s: the environment of %v: %q, %v", n.Name(), p.Args, text, err)
	}
	given := secrets[:len(secrets)-1]
	if strings.Contains(p.Args[0], "/bin/sleep") {
		given = given[:0] // it was handed the last one
	}
	noSecretIn(t, n.Name()+": the environment of "+p.Args[0], []byte(text), given)
}

// onlyBelaMayEnter demands that nobody else can open what bela has on a node,
// and that nothing listens on addresses where it need not.
func onlyBelaMayEnter(t *testing.T, n *netns.Node) {
	t.Helper()
	dirs, _ := filepath.Glob(n.Path("/root/.bela*"))
	if len(dirs) != 1 {
		t.Fatalf("%s: bela's directories: %v", n.Name(), dirs)
	}
	err := filepath.WalkDir(dirs[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s is %s", n.Name(), strings.TrimPrefix(path, n.Path("")), info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	s, err := snapshot.Take(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range s["ports"] {
		everywhere := strings.HasPrefix(port, "tcp 00000000:") || strings.HasPrefix(port, "tcp6 00000000000000000000000000000000:")
		if everywhere && port != "tcp 00000000:0016" {
			t.Errorf("%s: something listens on all addresses: %s", n.Name(), port)
		}
	}
}

// strangersRefused comes to every port that the worker listens on without
// credentials, in MQTT and in NATS, from another node.
func strangersRefused(t *testing.T, worker, from *netns.Node) {
	t.Helper()
	s, err := snapshot.Take(t.Context(), worker)
	if err != nil {
		t.Fatal(err)
	}
	at := hexAddress(worker.Address())
	refusedMQTT, refusedNATS := false, false
	for _, port := range s["ports"] {
		rest, ok := strings.CutPrefix(port, "tcp "+at+":")
		if !ok {
			continue
		}
		var number int
		if _, err := fmt.Sscanf(rest, "%X", &number); err != nil {
			t.Fatal(err)
		}
		// A CONNECT without user, protocol 3.1.1; then a NATS client that names nobody.
		mqtt := knock(t, from, worker, number, `\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x`)
		if strings.HasPrefix(mqtt, " 20 02 00 00") {
			t.Errorf("port %d lets an anonymous MQTT client in", number)
		}
		refusedMQTT = refusedMQTT || strings.HasPrefix(mqtt, " 20 02 00 0")
		nats := unhex(knock(t, from, worker, number, `CONNECT {"verbose":false}\r\nPING\r\n`))
		if strings.Contains(nats, "PONG") {
			t.Errorf("port %d lets an anonymous NATS client in", number)
		}
		refusedNATS = refusedNATS || strings.Contains(nats, "Authorization Violation")
	}
	if !refusedMQTT || !refusedNATS {
		t.Errorf("an MQTT refusal was seen: %v, one of NATS: %v; want both", refusedMQTT, refusedNATS)
	}
}

// knock sends bytes from one node to a port of another and gives what comes back, in hex.
func knock(t *testing.T, from, to *netns.Node, port int, send string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d; printf '%s' >&3; timeout 1 cat <&3 | od -An -v -tx1 -w100000`, to.Address(), port, send)
	out, err := from.Run(ctx, "bash", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unhex(text string) string {
	var b []byte
	for f := range strings.FieldsSeq(text) {
		var c byte
		if _, err := fmt.Sscanf(f, "%x", &c); err == nil {
			b = append(b, c)
		}
	}
	return string(b)
}

// hexAddress is an address as /proc/net/tcp has it.
func hexAddress(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%02X%02X%02X%02X", b[3], b[2], b[1], b[0])
}

// noSecretBelow reads every file of the run, compressed ones too.
func noSecretBelow(t *testing.T, dir string, secrets []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				return err
			}
			if text, err = io.ReadAll(io.LimitReader(z, 1<<30)); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		files++
		noSecretIn(t, strings.TrimPrefix(path, dir), text, secrets)
		return nil
	})
	if err != nil || files < 15 {
		t.Errorf("%d files of the run were read: %v", files, err)
	}
}
