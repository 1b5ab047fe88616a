// Command pack builds the programs for nodes, for every architecture, and puts
// the compressed executables where package agentbin embeds them.
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

// architecture is one that nodes may have.
type architecture struct {
	goarch string
	goarm  int
	name   string // in names of files
}

var architectures = []architecture{
	{goarch: "amd64", name: "amd64"},
	{goarch: "arm64", name: "arm64"},
	{goarch: "arm", goarm: 7, name: "armv7"},
}

// packages are the main packages of the programs.
var packages = map[agentbin.Program]string{
	agentbin.Agent:    "./cmd/bela-agent",
	agentbin.Platform: "./cmd/bela-platform",
}

// entries are the programs for some architectures, as the index will have them.
func entries(wanted []architecture) []agentbin.Entry {
	var all []agentbin.Entry
	for _, program := range []agentbin.Program{agentbin.Agent, agentbin.Platform} {
		for _, a := range wanted {
			all = append(all, agentbin.Entry{
				Program: program, GOARCH: a.goarch, GOARM: a.goarm,
				File: fmt.Sprintf("%s-linux-%s.zst", program, a.name),
			})
		}
	}
	return all
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
	// packages are what to build.
	packages map[agentbin.Program]string
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	only := flags.String("only", "", "architectures to build, with commas between; host is this machine's; empty is all")
	version := flags.String("version", "", "version that the agent reports; empty is what git describes")
	dist := flags.String("dist", "", "where to put them; empty is provision/agentbin/dist of the module")
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
	p := packer{root: root, dist: *dist, version: *version, packages: packages}
	if p.dist == "" {
		p.dist = filepath.Join(root, "provision", "agentbin", "dist")
	}
	if p.version == "" {
		p.version = describe(ctx, root)
	}
	return p.pack(ctx, wanted)
}

// selection picks architectures by name.
func selection(only string) ([]architecture, error) {
	if only == "" {
		return architectures, nil
	}
	var wanted []architecture
	for _, name := range strings.Split(only, ",") {
		if name == "host" {
			name = runtime.GOARCH
		}
		i := slices.IndexFunc(architectures, func(a architecture) bool { return a.goarch == name })
		if i < 0 {
			return nil, fmt.Errorf("-only: nothing is built for %q; there are amd64, arm64, arm and host", name)
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
func (p packer) pack(ctx context.Context, wanted []architecture) error {
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
	for _, e := range entries(wanted) {
		built := filepath.Join(work, strings.TrimSuffix(e.File, ".zst"))
		if err := p.build(ctx, e, built); err != nil {
			return err
		}
		if e, err = p.compress(built, e, old); err != nil {
			return err
		}
		index.Programs = append(index.Programs, e)
	}
	if err := p.removeOthers(index); err != nil {
		return err
	}
	return p.writeIndex(index, old)
}

// build makes a static executable that is the same wherever it is built. Only the
// agent knows the version: the platform stays the same until its sources change.
func (p packer) build(ctx context.Context, e agentbin.Entry, to string) error {
	ldflags := "-s -w"
	if e.Program == agentbin.Agent {
		ldflags += " -X main.version=" + p.version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", to, p.packages[e.Program])
	cmd.Dir = p.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+e.GOARCH)
	if e.GOARM != 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOARM=%d", e.GOARM))
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s for %s: %w", e.Program.Noun(), agentbin.Machine(e.GOARCH, e.GOARM), err)
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
	what := fmt.Sprintf("%-13s %-13s", e.Program, agentbin.Machine(e.GOARCH, e.GOARM))
	for _, o := range old.Programs {
		if o.File != e.File || o.SHA256 != e.SHA256 {
			continue
		}
		if have, err := os.ReadFile(filepath.Join(p.dist, o.File)); err == nil && hash(have) == o.Packed {
			fmt.Fprintf(os.Stderr, "%s unchanged\n", what)
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
	fmt.Fprintf(os.Stderr, "%s %.1f MB, %.1f MB compressed\n", what, float64(len(text))/1e6, float64(len(packed))/1e6)
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
	if slices.Equal(index.Programs, old.Programs) {
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
		if !slices.ContainsFunc(index.Programs, func(e agentbin.Entry) bool { return e.File == filepath.Base(f) }) {
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
