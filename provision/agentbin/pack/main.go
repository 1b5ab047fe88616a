// Command pack builds the agent for every architecture of nodes and puts the
// compressed executables where package agentbin embeds them.
//
//	go run ./provision/agentbin/pack [-only amd64,arm64,arm|host] [-version V] [-dist DIR]
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"bela/provision/agentbin"
)

// architectures are those that nodes may have.
var architectures = []agentbin.Entry{
	{GOARCH: "amd64", File: "bela-agent-linux-amd64.zst"},
	{GOARCH: "arm64", File: "bela-agent-linux-arm64.zst"},
	{GOARCH: "arm", GOARM: 7, File: "bela-agent-linux-armv7.zst"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// packer is what the flags say.
type packer struct {
	root    string // the module
	dist    string
	version string
	source  string // the package to build
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	only := flags.String("only", "", "architectures to build, with commas between; host is this machine's; empty is all")
	version := flags.String("version", "", "version that the agents report; empty is what git describes")
	dist := flags.String("dist", "", "where to put them; empty is provision/agentbin/dist of the module")
	source := flags.String("package", "./cmd/bela-agent", "main package of the agent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := selection(*only)
	if err != nil {
		return err
	}
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	p := packer{root: root, dist: *dist, version: *version, source: *source}
	if p.dist == "" {
		p.dist = filepath.Join(root, "provision", "agentbin", "dist")
	}
	if p.version == "" {
		p.version = describe(ctx, root)
	}
	return p.pack(ctx, wanted)
}

// selection picks architectures by name.
func selection(only string) ([]agentbin.Entry, error) {
	if only == "" {
		return architectures, nil
	}
	var wanted []agentbin.Entry
	for _, name := range strings.Split(only, ",") {
		if name == "host" {
			name = runtime.GOARCH
		}
		i := slices.IndexFunc(architectures, func(e agentbin.Entry) bool { return e.GOARCH == name })
		if i < 0 {
			return nil, fmt.Errorf("-only: no agent is built for %q; there are amd64, arm64, arm and host", name)
		}
		wanted = append(wanted, architectures[i])
	}
	return wanted, nil
}

// describe names the version; a tree without git has none.
func describe(ctx context.Context, root string) string {
	v, err := output(ctx, root, "git", "describe", "--tags", "--always", "--dirty")
	if err != nil || v == "" {
		return "dev"
	}
	return v
}

// pack builds what is wanted and writes the index of it. Executables of other
// architectures are removed: they may be of another version.
func (p packer) pack(ctx context.Context, wanted []agentbin.Entry) error {
	if err := os.MkdirAll(p.dist, 0o755); err != nil {
		return err
	}
	old, err := p.readIndex()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "bela-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // temporary
	var index agentbin.Index
	for _, e := range wanted {
		built := filepath.Join(work, strings.TrimSuffix(e.File, ".zst"))
		if err := p.build(ctx, e, built); err != nil {
			return err
		}
		if e, err = p.compress(built, e, old); err != nil {
			return err
		}
		index.Agents = append(index.Agents, e)
	}
	if err := p.removeOthers(index); err != nil {
		return err
	}
	return p.writeIndex(index, old)
}

// build makes a static executable that is the same wherever it is built.
func (p packer) build(ctx context.Context, e agentbin.Entry, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+p.version, "-o", to, p.source)
	cmd.Dir = p.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+e.GOARCH)
	if e.GOARM != 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOARM=%d", e.GOARM))
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the agent for %s: %w", agentbin.Platform(e.GOARCH, e.GOARM), err)
	}
	return nil
}

// compress packs an executable, unless the very same is there already.
func (p packer) compress(built string, e agentbin.Entry, old agentbin.Index) (agentbin.Entry, error) {
	text, err := os.ReadFile(built)
	if err != nil {
		return e, err
	}
	e.SHA256, e.Size = hash(text), int64(len(text))
	platform := agentbin.Platform(e.GOARCH, e.GOARM)
	for _, o := range old.Agents {
		if o.File != e.File || o.SHA256 != e.SHA256 {
			continue
		}
		if have, err := os.ReadFile(filepath.Join(p.dist, o.File)); err == nil && hash(have) == o.Packed {
			fmt.Fprintf(os.Stderr, "%-13s unchanged\n", platform)
			return o, nil
		}
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return e, err
	}
	packed := encoder.EncodeAll(text, nil)
	if err := encoder.Close(); err != nil {
		return e, err
	}
	e.Packed = hash(packed)
	fmt.Fprintf(os.Stderr, "%-13s %.1f MB, %.1f MB compressed\n", platform, float64(len(text))/1e6, float64(len(packed))/1e6)
	return e, replaceFile(filepath.Join(p.dist, e.File), packed)
}

func (p packer) readIndex() (agentbin.Index, error) {
	var index agentbin.Index
	text, err := os.ReadFile(filepath.Join(p.dist, agentbin.IndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	if json.Unmarshal(text, &index) != nil {
		return agentbin.Index{}, nil // it is written anew
	}
	return index, nil
}

// writeIndex leaves an index that is the same alone, so that nothing that
// embeds it is built again.
func (p packer) writeIndex(index, old agentbin.Index) error {
	if slices.Equal(index.Agents, old.Agents) {
		return nil
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(p.dist, agentbin.IndexFile), append(text, '\n'))
}

func (p packer) removeOthers(index agentbin.Index) error {
	files, err := filepath.Glob(filepath.Join(p.dist, "*.zst"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if !slices.ContainsFunc(index.Agents, func(e agentbin.Entry) bool { return e.File == filepath.Base(f) }) {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceFile never shows half a file to a build that runs at the same time.
func replaceFile(name string, text []byte) error {
	temporary := name + ".tmp"
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
