package experiment

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Process is what a component of the user's own needs on its node besides its
// command. Texts may hold placeholders; see Cell.Fill.
type Process struct {
	// Packages are the Debian packages that must be installed.
	Packages []string `json:"packages,omitempty"`
	// KeepPackages leaves on the node what bela installed.
	KeepPackages bool       `json:"keep_packages,omitempty"`
	Files        []File     `json:"files,omitempty"`
	Artifacts    []Artifact `json:"artifacts,omitempty"`
	// User runs the process; empty is the login.
	User string `json:"user,omitempty"`
	// Directory is the working directory: relative to the instance's own, or
	// absolute and there already. Empty is the instance's own.
	Directory string `json:"directory,omitempty"`
	// State are paths outside of it that are empty when a cell begins.
	State   []string       `json:"state,omitempty"`
	Restart *Restart       `json:"restart,omitempty"`
	Ports   map[string]int `json:"ports,omitempty"` // named; of the first instance on a node
}

// File is a text file that is written into an instance's directory before it
// starts.
type File struct {
	Name    string `json:"name"` // relative to the instance's directory
	Content string `json:"content"`
	Mode    uint32 `json:"mode"`
}

// Artifact is a file of the controller's machine that is pushed to the nodes of
// a component, once for each content.
type Artifact struct {
	Name   string `json:"name"`
	Source string `json:"source"` // as written: relative to the experiment file
	SHA256 string `json:"sha256"` // in lower-case hexadecimal digits
	// Unpack says that it is an archive, .tar.gz, .tgz, .tar or .zip, to be unpacked there.
	Unpack bool   `json:"unpack,omitempty"`
	Mode   uint32 `json:"mode,omitempty"` // where it is not unpacked
	// Path is where Source lies on the controller's machine.
	Path string `json:"-"`
}

// Restart says what becomes of an instance that ends by itself while a cell
// runs; a nil one stays ended, and makes the cell invalid.
type Restart struct {
	Policy RestartPolicy `json:"policy"`
	// Backoff is the pause before the first restart; it doubles with each, up to a minute.
	Backoff time.Duration `json:"backoff"`
	Max     int           `json:"max"` // restarts of an instance in a cell
}

// RestartPolicy is which ends of a process are followed by a restart.
type RestartPolicy string

// The restart policies.
const (
	RestartNever     RestartPolicy = "never"
	RestartOnFailure RestartPolicy = "on-failure" // exit status other than 0, or a signal
	RestartAlways    RestartPolicy = "always"
)

// Placement says how instances lie on the nodes of their group.
type Placement string

// The placements.
const (
	PlaceSpread     Placement = "spread"
	PlacePack       Placement = "pack"
	PlaceOnePerNode Placement = "one_per_node"
)

// Bounds and defaults of processes.
const (
	maxPorts          = 32
	maxPackages       = 50
	maxFiles          = 50
	maxFileContent    = 1 << 20 // bytes of all files of a component
	maxArtifacts      = 20
	maxState          = 20
	defaultBackoff    = time.Second
	maxBackoff        = time.Minute
	defaultRestarts   = 5
	maxRestarts       = 1000
	defaultFileMode   = 0o600
	defaultBinaryMode = 0o755
)

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,127}$`)
	processUser = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	hexDigest   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fileMode    = regexp.MustCompile(`^0?[0-7]{3}$`)
)

// process reads what only the user's own processes have.
func (l *loader) process(r *reader, c *componentSpec) {
	c.Packages, _ = r.texts("packages", maxPackages)
	for _, name := range c.Packages {
		if !packageName.MatchString(name) {
			r.wrong("packages", fmt.Sprintf("%q cannot be a Debian package's name", clip(name)), `for example: packages = ["mosquitto"]`)
		}
	}
	c.KeepPackages, _ = r.truth("keep_packages")
	if user, ok := r.text("user", 64); ok {
		if !processUser.MatchString(user) {
			r.wrong("user", fmt.Sprintf("%q cannot be a user's name", clip(user)), `for example: user = "nobody"`)
		}
		c.User = user
	}
	if dir, ok := r.text("directory", 1024); ok {
		if c.Directory = dir; !path.IsAbs(dir) && !inside(dir) {
			r.wrong("directory", fmt.Sprintf("%q leads out of the instance's directory", clip(dir)),
				"legal: a path within it, or an absolute one that is there already")
		}
	}
	c.State, _ = r.texts("state", maxState)
	for _, at := range c.State {
		if !Wipeable(at) {
			r.wrong("state", fmt.Sprintf("%q is no path that may be wiped before each cell", clip(at)),
				"legal: an absolute path below "+strings.Join(wipeable, ", "))
		}
	}
	l.restart(r, c)
	l.files(r, c)
	l.artifacts(r, c)
}

// inside says whether a relative path stays where it begins.
func inside(p string) bool { return p != "" && filepath.IsLocal(p) }

// wipeable are the places that may hold a component's state.
var wipeable = []string{"/var/lib", "/var/log", "/var/cache", "/var/tmp", "/var/spool", "/tmp", "/run", "/srv", "/opt", "/dev/shm"}

// Wipeable says whether a path may be wiped before a cell: one of its own below
// a place where state is kept, written without detours.
func Wipeable(p string) bool {
	if path.Clean(p) != p || strings.ContainsAny(p, "\t\n") {
		return false
	}
	return slices.ContainsFunc(wipeable, func(place string) bool { return strings.HasPrefix(p, place+"/") })
}

func (l *loader) restart(r *reader, c *componentSpec) {
	policy, given := r.choice("restart", string(RestartNever), string(RestartOnFailure), string(RestartAlways))
	restart := Restart{Policy: RestartPolicy(policy), Backoff: defaultBackoff, Max: defaultRestarts}
	if d, ok := r.length("restart_backoff", 10*time.Millisecond, maxBackoff); ok {
		restart.Backoff = d
	}
	if n, ok := r.whole("restart_max", 1, maxRestarts); ok {
		restart.Max = int(n)
	}
	for _, name := range []string{"restart_backoff", "restart_max"} {
		if r.has(name) && (!r.has("restart") || given && restart.Policy == RestartNever) {
			r.wrong(name, "the component is never restarted", `write restart = "on-failure" or "always", or leave this out`)
		}
	}
	if given && restart.Policy != RestartNever {
		c.Restart = &restart
	}
}

// named reads the blocks of a kind that have one label each.
func (r *reader) named(kind string, most int, legal func(string) bool, what string) map[string]*reader {
	r.blocks = append(r.blocks, kind)
	found := map[string]*reader{}
	at := map[string]hcl.Range{}
	for _, b := range r.body.Blocks {
		switch {
		case b.Type != kind:
			continue
		case len(b.Labels) != 1 || !legal(b.Labels[0]):
			r.m.error(b.DefRange(), fmt.Sprintf("%s: a %s block has one label, %s", r.what, kind, what))
			continue
		case found[b.Labels[0]] != nil:
			r.m.error(b.LabelRanges[0], fmt.Sprintf("%s has two %s blocks called %q", r.what, kind, b.Labels[0]),
				"the first is at "+place(at[b.Labels[0]]))
			continue
		case len(found) == most:
			r.m.error(b.DefRange(), fmt.Sprintf("%s has more than %d %s blocks", r.what, most, kind))
			return found
		}
		n := r.m.reader(b, r.s)
		n.what = r.what + ", " + n.what
		found[b.Labels[0]], at[b.Labels[0]] = n, b.LabelRanges[0]
	}
	return found
}

// mode reads a file's mode, in octal digits.
func (r *reader) mode(usual uint32) uint32 {
	s, ok := r.text("mode", 8)
	if !ok {
		return usual
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || !fileMode.MatchString(s) {
		r.wrong("mode", fmt.Sprintf("%q is no file mode", clip(s)), `for example: mode = "0640"`)
		return usual
	}
	return uint32(n)
}

func (l *loader) files(r *reader, c *componentSpec) {
	blocks := r.named("file", maxFiles, func(name string) bool { return inside(name) && len(name) <= 255 && printable(name) == name },
		"its path within the instance's directory")
	size := 0
	for _, name := range sortedKeys(blocks) {
		n := blocks[name]
		f := File{Name: path.Clean(name)}
		n.require("content", `content = file("broker.conf")`)
		f.Content, _ = n.text("content", maxFileContent)
		f.Mode = n.mode(defaultFileMode)
		n.finish()
		if size += len(f.Content); size > maxFileContent {
			r.m.error(n.header, fmt.Sprintf("%s: its files have more than %d bytes", r.what, maxFileContent), "push large files with an artifact block")
			return
		}
		c.Files = append(c.Files, f)
	}
}

func (l *loader) artifacts(r *reader, c *componentSpec) {
	blocks := r.named("artifact", maxArtifacts, identifier.MatchString, "its name")
	for _, name := range sortedKeys(blocks) {
		n := blocks[name]
		a := Artifact{Name: name}
		n.require("source", `source = "files/broker.tar.gz"`)
		a.Source, _ = n.text("source", 4096)
		if a.Path = a.Source; !filepath.IsAbs(a.Path) {
			a.Path = filepath.Join(filepath.Dir(l.path), a.Path)
		}
		n.require("sha256", `sha256 = "…", as sha256sum prints it`)
		if sum, ok := n.text("sha256", 128); ok {
			if a.SHA256 = strings.ToLower(sum); !hexDigest.MatchString(a.SHA256) {
				n.wrong("sha256", fmt.Sprintf("%q is no SHA-256", clip(sum)), "legal: 64 hexadecimal digits, as sha256sum prints them")
			}
		}
		a.Unpack, _ = n.truth("unpack")
		switch {
		case a.Unpack && n.has("mode"):
			n.wrong("mode", "what is unpacked has the modes of the archive", "leave it out")
		case a.Unpack && !Archive(a.Source):
			n.wrong("unpack", fmt.Sprintf("%q is no archive that bela unpacks", clip(a.Source)), "legal: .tar.gz, .tgz, .tar, .zip")
		}
		if mode := n.mode(defaultBinaryMode); !a.Unpack {
			a.Mode = mode
		}
		n.finish()
		c.Artifacts = append(c.Artifacts, a)
	}
}

// Archive says whether a file's name is that of an archive that can be unpacked.
func Archive(name string) bool {
	return slices.ContainsFunc([]string{".tar.gz", ".tgz", ".tar", ".zip"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// artifactNames are the labels of a component's artifact blocks.
func artifactNames(b *hclsyntax.Block) []string {
	var names []string
	for _, inner := range b.Body.Blocks {
		if inner.Type == "artifact" && len(inner.Labels) == 1 {
			names = append(names, inner.Labels[0])
		}
	}
	return names
}

// namedPorts reads ports. Where port is not given, the port called mqtt is it.
func (l *loader) namedPorts(r *reader, c *componentSpec) {
	v, ok := r.value("ports")
	if !ok {
		return
	}
	const example = "for example: ports = { mqtt = 1883, admin = 15672 }"
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.wrong("ports", "an object is wanted, and this is "+typeName(v), example)
		return
	}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		name := key.AsString()
		n, isNumber := asNumber(value)
		switch {
		case !identifier.MatchString(name):
			r.wrong("ports", fmt.Sprintf("%q cannot be a port's name", clip(name)), "legal: a letter, then letters, digits, _ and -")
		case !isNumber || n != float64(int(n)) || n < 1 || n > 65535:
			r.wrong("ports", fmt.Sprintf("%s: a port from 1 to 65535 is wanted", name), example)
		case len(c.Ports) == maxPorts:
			r.wrong("ports", fmt.Sprintf("there are more than %d", maxPorts))
			return
		default:
			c.Ports = set(c.Ports, name, int(n))
		}
	}
	if port, ok := c.Ports["mqtt"]; ok && !c.portFixed {
		c.Port, c.portFixed, c.portAt = port, true, r.at("ports")
	}
	c.portsAt = r.at("ports")
}
