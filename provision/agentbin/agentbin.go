// Package agentbin holds the programs for nodes that the controller carries with
// it: for each architecture the agent and the built-in platform, compressed.
//
// It exists so that bela is one file that needs nothing installed on the nodes.
// It must not know nodes or how a program gets there.
package agentbin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"
)

//go:generate go run ./pack

//go:embed all:dist
var dist embed.FS

// Program is one of the programs for nodes; its text is the executable's name.
type Program string

// The programs. The agent goes to every node, the platform to those that run
// built-in components.
const (
	Agent    Program = "bela-agent"
	Platform Program = "bela-platform"
)

// Noun is what sentences call the program.
func (p Program) Noun() string {
	if p == Platform {
		return "the built-in platform"
	}
	return "the agent"
}

// Binary is one executable.
type Binary struct {
	// SHA256 of the executable, in hexadecimal, and its size in bytes.
	SHA256 string
	Size   int64
	// Open gives the executable; the caller closes it.
	Open func() (io.ReadCloser, error)
	// OpenPacked gives it as a zstd file; nil where there is none.
	OpenPacked func() (io.ReadCloser, error)
}

// Index lists the executables in dist; pack writes it.
type Index struct {
	Programs []Entry `json:"programs"`
}

// Entry is one executable of an Index.
type Entry struct {
	Program Program `json:"program"`
	GOARCH  string  `json:"goarch"`
	GOARM   int     `json:"goarm,omitempty"`
	File    string  `json:"file"` // compressed, beside the index
	SHA256  string  `json:"sha256"`
	Size    int64   `json:"size_bytes"`
	// Packed is the SHA-256 of the compressed file.
	Packed string `json:"packed_sha256"`
}

// IndexFile is the name of the index in dist.
const IndexFile = "index.json"

// Machine names an architecture as errors do: "linux/arm/v7".
func Machine(goarch string, goarm int) string {
	if goarch == "arm" {
		return fmt.Sprintf("linux/arm/v%d", goarm)
	}
	return "linux/" + goarch
}

// For gives a program for Linux on an architecture. goarm counts for arm only.
func For(program Program, goarch string, goarm int) (Binary, error) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return Binary{}, err
	}
	return find(sub, program, goarch, goarm)
}

// find looks a program up in a directory that pack wrote.
func find(dir fs.FS, program Program, goarch string, goarm int) (Binary, error) {
	missing := fmt.Errorf("this controller was built without %s for %s: run make build", program.Noun(), Machine(goarch, goarm))
	text, err := fs.ReadFile(dir, IndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Binary{}, missing
	}
	if err != nil {
		return Binary{}, fmt.Errorf("programs for nodes: %w", err)
	}
	var index Index
	if err := json.Unmarshal(text, &index); err != nil {
		return Binary{}, fmt.Errorf("programs for nodes: %s: %w", IndexFile, err)
	}
	for _, e := range index.Programs {
		if e.Program != program || e.GOARCH != goarch || (goarch == "arm" && e.GOARM != goarm) {
			continue
		}
		return Binary{SHA256: e.SHA256, Size: e.Size, Open: func() (io.ReadCloser, error) {
			return openPacked(dir, path.Clean(e.File))
		}, OpenPacked: func() (io.ReadCloser, error) {
			return dir.Open(path.Clean(e.File))
		}}, nil
	}
	return Binary{}, missing
}

// openPacked uncompresses while it is read.
func openPacked(dir fs.FS, name string) (io.ReadCloser, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, fmt.Errorf("programs for nodes: %w", err)
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("programs for nodes: %s: %w", name, err)
	}
	return &packed{z, f}, nil
}

type packed struct {
	*zstd.Decoder
	file fs.File
}

func (p *packed) Close() error {
	p.Decoder.Close()
	return p.file.Close()
}

// FromFile makes a Binary of an executable on the controller.
func FromFile(name string) (Binary, error) {
	f, err := os.Open(name)
	if err != nil {
		return Binary{}, fmt.Errorf("program for nodes: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return Binary{}, fmt.Errorf("program for nodes: %w", err)
	}
	return Binary{SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size, Open: func() (io.ReadCloser, error) {
		return os.Open(name)
	}}, nil
}
