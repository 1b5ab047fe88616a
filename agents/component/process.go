package component

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"bela/agents/protocol"
)

// process is what the instance needs besides its command.
func (in *instance) process() protocol.ProcessSpec {
	if in.spec.Process == nil {
		return protocol.ProcessSpec{}
	}
	return *in.spec.Process
}

// login is a user to run as.
type login struct {
	uid, gid int
	groups   []int
}

// lookUp finds the user that the process shall run as; nil is the agent's.
func lookUp(name string) (*login, error) {
	if name == "" {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("user %q: only root can run a process as another user: log in as root, or leave user out", name)
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("there is no user %q on this node", name)
	}
	l := &login{}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	l.uid, l.gid, l.groups = uid, gid, []int{gid}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %q: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil && n != gid {
			l.groups = append(l.groups, n)
		}
	}
	return l, nil
}

// credential is the login as the kernel takes it.
func (l *login) credential() *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.gid)}
	for _, g := range l.groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// outside is a directory that other users can reach: bela's own is closed to
// them. It is made when it is first needed, and recorded.
func (s *Supervisor) outside() (string, error) {
	sum := sha256.Sum256([]byte(s.Dir))
	dir := filepath.Join("/var/tmp", "bela-"+hex.EncodeToString(sum[:6]))
	if err := s.note(dir); err != nil {
		return "", err
	}
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		info, lerr := os.Lstat(dir)
		if lerr != nil {
			return "", lerr
		}
		if sys, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(sys.Uid) != os.Geteuid() {
			return "", fmt.Errorf("%s is there and is not bela's: remove it", dir)
		}
		err = nil
	}
	return dir, err
}

// note records a path outside of bela's directory before it is used, once, and
// has it removed when all instances end.
func (s *Supervisor) note(path string) error {
	if s.state[path] {
		return nil
	}
	if s.RecordState != nil {
		if err := s.RecordState(path); err != nil {
			return fmt.Errorf("record %s: %w", path, err)
		}
	}
	s.state[path] = true
	return nil
}

// places may hold a component's state, and nothing outside of them is wiped.
var places = []string{"/var/lib", "/var/log", "/var/cache", "/var/tmp", "/var/spool", "/tmp", "/run", "/srv", "/opt", "/dev/shm"}

// wipe removes a path of a component's state. It follows no link out of the
// place where it lies.
func wipe(path string) error {
	for _, place := range places {
		rel, ok := strings.CutPrefix(path, place+"/")
		if !ok || !filepath.IsLocal(rel) || filepath.Clean(rel) != rel || rel == "." {
			continue
		}
		root, err := os.OpenRoot(place)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(root.RemoveAll(rel), root.Close())
	}
	return fmt.Errorf("state %q lies in no place that may be wiped: %s", path, strings.Join(places, ", "))
}

// wipeState removes all state that was recorded. The caller holds mu.
func (s *Supervisor) wipeState() error {
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(s.state)) {
		errs = append(errs, wipe(path))
	}
	return errors.Join(errs...)
}

// furnish makes the instance's directories, with the files and artifacts that
// it gets, and fills in what only this node knows. The caller holds the
// supervisor's mu.
func (in *instance) furnish() error {
	p := in.process()
	as, err := lookUp(p.User)
	if err != nil {
		return err
	}
	in.as = as
	artifacts := filepath.Join(in.sup.Dir, artifactsDir)
	if as != nil {
		outside, err := in.sup.outside()
		if err != nil {
			return err
		}
		artifacts = filepath.Join(outside, artifactsDir)
		cell := filepath.Join(outside, in.spec.Cell)
		if err := os.MkdirAll(cell, 0o711); err != nil {
			return err
		}
		in.dir = filepath.Join(cell, in.String())
	}
	if err := in.clean(p.State); err != nil {
		return err
	}
	paths := make(map[string]string)
	for _, a := range p.Artifacts {
		if paths[a.Name], err = in.sup.artifact(a, artifacts); err != nil {
			return err
		}
	}
	in.fill(in.filler(paths))
	if err := in.write(in.process().Files); err != nil {
		return err
	}
	in.work = in.dir
	switch dir := in.process().Directory; {
	case filepath.IsAbs(dir):
		if in.work = dir; !isDir(dir) {
			return fmt.Errorf("working directory %s is not on this node", dir)
		}
	case dir != "":
		in.work = filepath.Join(in.dir, dir)
		if err := os.MkdirAll(in.work, 0o700); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
	}
	return in.hand(in.dir)
}

// clean makes the instance's directory, empty but after a fault, and wipes its
// state.
func (in *instance) clean(state []string) error {
	if !in.again {
		for _, path := range state {
			if err := in.sup.note(path); err != nil {
				return err
			}
			if err := wipe(path); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(in.dir); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
	}
	if err := os.MkdirAll(in.dir, 0o700); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return nil
}

// fill replaces placeholders in everything that the process is given.
func (in *instance) fill(r *strings.Replacer) {
	all := func(texts []string) []string {
		filled := slices.Clone(texts)
		for i := range filled {
			filled[i] = r.Replace(filled[i])
		}
		return filled
	}
	s := &in.spec
	s.Command, s.ReadyCommand = all(s.Command), all(s.ReadyCommand)
	s.ReadyTCP, s.ReadyLog = r.Replace(s.ReadyTCP), r.Replace(s.ReadyLog)
	s.Env = maps.Clone(s.Env)
	for name, v := range s.Env {
		s.Env[name] = r.Replace(v)
	}
	p := in.process()
	p.Directory = r.Replace(p.Directory)
	p.ReadyHTTP = r.Replace(p.ReadyHTTP)
	p.Files = slices.Clone(p.Files)
	for i := range p.Files {
		p.Files[i].Content = r.Replace(p.Files[i].Content)
	}
	s.Process = &p
}

// write writes the instance's files.
func (in *instance) write(files []protocol.FileSpec) error {
	root, err := os.OpenRoot(in.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, f := range files {
		mode := fs.FileMode(f.Mode) & fs.ModePerm
		err := root.MkdirAll(filepath.Dir(f.Name), 0o700)
		if err == nil {
			err = root.WriteFile(f.Name, []byte(f.Content), mode)
		}
		if err == nil {
			err = root.Chmod(f.Name, mode) // whatever the umask, and where it was there
		}
		if err != nil {
			return fmt.Errorf("file %q: %w", f.Name, err)
		}
	}
	return nil
}

// hand gives a directory to the user that the process runs as.
func (in *instance) hand(dir string) error {
	if in.as == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, in.as.uid, in.as.gid)
	})
}

// portsFree makes sure that nobody listens where the instance will: else its
// readiness would be another's.
func (in *instance) portsFree() error {
	ports := slices.Clone(in.process().Ports)
	if in.spec.Port > 0 && !slices.Contains(ports, in.spec.Port) {
		ports = append(ports, in.spec.Port)
	}
	for _, port := range ports {
		ln, err := net.Listen("tcp", net.JoinHostPort(in.spec.Bind, strconv.Itoa(port)))
		if err == nil {
			_ = ln.Close()
			continue
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			continue // not its address, or not its right: the process will say
		}
		by := ""
		if in.sup.Holder != nil {
			by = in.sup.Holder(in.spec.Bind, port)
		}
		if by == "" {
			by = "a process that this login cannot see"
		}
		return fmt.Errorf("port %d of %s is in use by %s: end it, or give the component another port", port, in.spec.Bind, by)
	}
	return nil
}

// digest is a SHA-256, which becomes part of paths.
var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkProcess refuses what could not even be tried.
func checkProcess(p *protocol.ProcessSpec) error {
	if p == nil {
		return nil
	}
	for _, f := range p.Files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("file %q leads out of the instance's directory", f.Name)
		}
	}
	for _, a := range p.Artifacts {
		if !digest.MatchString(a.SHA256) {
			return fmt.Errorf("artifact %q has no SHA-256", a.Name)
		}
	}
	if p.Directory != "" && !filepath.IsAbs(p.Directory) && !filepath.IsLocal(p.Directory) {
		return fmt.Errorf("directory %q leads out of the instance's own", p.Directory)
	}
	if _, err := regexp.Compile(p.ReadyBody); err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	if p.Restart != nil && (p.Restart.Max < 1 || p.Restart.Backoff < 0) {
		return errors.New("a restart needs a positive number of times")
	}
	return nil
}
