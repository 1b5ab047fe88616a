package nodes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/skeema/knownhosts"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// maxSkipped is how many malformed lines a known_hosts file may have. A file with
// more is something else.
const maxSkipped = 100

// maxKnownHostsLine is a line that the reader of known_hosts files takes.
const maxKnownHostsLine = 60_000

// hostKeyDB is known_hosts files as read. Lines that are malformed are left out,
// as OpenSSH does: other programs write to these files too.
type hostKeyDB struct {
	*knownhosts.HostKeyDB
	// skipped are the lines left out, as file:line: why.
	skipped []string
	// names are the files' own, where a copy was read.
	names map[string]string
}

// place gives where a known key stands.
func (db *hostKeyDB) place(k xknownhosts.KnownKey) string {
	name := k.Filename
	if own, ok := db.names[name]; ok {
		name = own
	}
	return fmt.Sprintf("%s:%d", name, k.Line)
}

// readKnownHosts reads the files anew each time: another node's login may just
// have added to them.
func readKnownHosts(files []string) (*hostKeyDB, error) {
	db := &hostKeyDB{names: make(map[string]string)}
	var copies []string
	defer func() {
		for _, c := range copies {
			_ = os.Remove(c)
		}
	}()
	files = slices.Clone(files)
	for i, f := range files {
		text, skipped, err := withoutMalformed(f)
		if err != nil {
			return nil, err
		}
		if len(skipped) == 0 {
			continue
		}
		c, err := temporary(text)
		if err != nil {
			return nil, fmt.Errorf("known hosts: leave the malformed lines of %s out: %w", f, err)
		}
		copies = append(copies, c)
		db.skipped, db.names[c], files[i] = append(db.skipped, skipped...), f, c
	}
	var err error
	if db.HostKeyDB, err = knownhosts.NewDB(files...); err != nil {
		return nil, fmt.Errorf("known hosts: %w (correct or remove that line)", err)
	}
	return db, nil
}

// malformed is how the reader of known_hosts files names the line that stops it.
var malformed = regexp.MustCompile(`(?s)^knownhosts: .*?:(\d+): (.*)$`)

// withoutMalformed gives a file's text with empty lines for the malformed ones,
// and says which those are. A line that revokes a key is not left out: it would
// make the key good again.
func withoutMalformed(file string) (text []byte, skipped []string, err error) {
	text, err = readBounded(file, maxConfigFile)
	if err != nil {
		return nil, nil, fmt.Errorf("known hosts: %w", err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	skip := func(n int, why string) error {
		if n < 1 || n > len(lines) {
			return fmt.Errorf("known hosts: %s: %s", file, oneLine(why))
		}
		line := bytes.TrimSpace(lines[n-1])
		switch {
		case bytes.HasPrefix(line, []byte("@revoked")):
			return fmt.Errorf("known hosts: %s:%d: a line that revokes a key is malformed: %s (correct it: bela does not skip it)", file, n, oneLine(why))
		case len(line) == 0 || len(skipped) == maxSkipped:
			return fmt.Errorf("known hosts: %s:%d: %s; it has more than %d malformed lines (is it a known_hosts file?)", file, n, oneLine(why), maxSkipped)
		}
		lines[n-1] = []byte("\n")
		skipped = append(skipped, fmt.Sprintf("%s:%d: %s", file, n, oneLine(why)))
		return nil
	}
	for i, line := range lines {
		if len(line) > maxKnownHostsLine {
			if err := skip(i+1, fmt.Sprintf("the line has more than %d bytes", maxKnownHostsLine)); err != nil {
				return nil, nil, err
			}
		}
	}
	at := file
	for {
		why := readable(at)
		if at != file {
			_ = os.Remove(at)
		}
		if why == nil {
			return bytes.Join(lines, nil), skipped, nil
		}
		m := malformed.FindStringSubmatch(why.Error())
		if m == nil {
			return nil, nil, fmt.Errorf("known hosts: %s: %w", file, why)
		}
		n, _ := strconv.Atoi(m[1])
		if err := skip(n, strings.TrimPrefix(m[2], "knownhosts: ")); err != nil {
			return nil, nil, err
		}
		if at, err = temporary(bytes.Join(lines, nil)); err != nil {
			return nil, nil, fmt.Errorf("known hosts: leave the malformed lines of %s out: %w", file, err)
		}
	}
}

// readable says what is wrong with a file, if anything.
func readable(file string) error {
	_, err := xknownhosts.New(file)
	return err
}

// temporary writes a file of the user's own, for the moment in which it is read.
func temporary(text []byte) (string, error) {
	f, err := os.CreateTemp("", "bela-known-hosts-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// SkippedHostKeys gives the malformed lines of the known_hosts files that count for
// the targets, as "file:line: why", each once. Dial leaves such lines out without a
// word, since it would say it for each node. Files that cannot be read are left to
// Dial as well.
func SkippedHostKeys(targets []Target) []string {
	var all []string
	seen := make(map[string]bool)
	for _, t := range targets {
		d, err := newDialer(t)
		if err != nil || t.SSH.HostKeys == HostKeysPinned {
			continue
		}
		for _, h := range d.hops {
			_, files := d.config.knownHostsFiles(t.SSH.KnownHosts, h.alias)
			for _, f := range files {
				if seen[f] {
					continue
				}
				seen[f] = true
				if _, skipped, err := withoutMalformed(f); err == nil {
					all = append(all, skipped...)
				}
			}
		}
	}
	return all
}
