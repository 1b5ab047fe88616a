package inventory

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// Format is the language of an inventory.
type Format string

// The formats, by the names that force them.
const (
	HCL         Format = "hcl"
	AnsibleINI  Format = "ini"
	AnsibleYAML Format = "yaml"
	SSHConfig   Format = "ssh_config"
	RSpec       Format = "rspec"
)

// String names the format for people.
func (f Format) String() string {
	switch f {
	case HCL:
		return "bela's own inventory (HCL)"
	case AnsibleINI:
		return "an Ansible inventory in INI"
	case AnsibleYAML:
		return "an Ansible inventory in YAML"
	case SSHConfig:
		return "an ssh_config"
	case RSpec:
		return "a manifest RSpec"
	}
	return string(f)
}

func known() string { return "hcl, ini, yaml, ssh_config, rspec" }

// forced splits a format off a path: "ini:machines".
func forced(name string) (Format, string) {
	before, after, ok := strings.Cut(name, ":")
	if _, is := readers()[Format(before)]; ok && is && after != "" {
		return Format(before), after
	}
	return "", name
}

// An experiment has blocks that an inventory has not.
var (
	experimentBlock = regexp.MustCompile(`(?m)^\s*((experiment|component|variable)\s+"|devices\s*\{|customers\s*\{)`)
	nodeBlocks      = regexp.MustCompile(`(?m)^\s*node\s+"`)
)

// Is says whether a file, with or without a format before its name, is an
// inventory rather than an experiment.
func Is(name string) bool {
	format, path := forced(name)
	if format != "" {
		return true
	}
	text, err := readBounded(path)
	if err != nil {
		return false
	}
	format, err = recognise(text, path)
	return err == nil && (format != HCL || nodeBlocks.Match(text) && !experimentBlock.Match(text))
}

// A line that only one format has.
var telling = []struct {
	format Format
	line   *regexp.Regexp
}{
	{HCL, regexp.MustCompile(`^(node\s+"[^"]*"|ssh)\s*\{`)},
	{AnsibleINI, regexp.MustCompile(`^\[[^\]\s]+\]\s*([#;].*)?$|^\S+\s.*\bansible_\w+\s*=`)},
	{AnsibleYAML, regexp.MustCompile(`^---(\s|$)|^("[^"]+"|'[^']+'|[A-Za-z_][\w.-]*)\s*:\s*(#.*)?$`)},
	{SSHConfig, regexp.MustCompile(`(?i)^(Host|Match|Include)(\s+|\s*=\s*)[^\s={][^{]*$`)},
}

// recognise finds the format by what the file holds, else by its name's ending.
func recognise(text []byte, name string) (Format, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	switch {
	case bytes.HasPrefix(text, []byte("#!")):
		return "", fmt.Errorf("inventory: %s:1: it is a program; bela runs none: `ansible-inventory -i %s --list --yaml > machines.yml` writes what it says into a file that bela reads", name, name)
	case bytes.HasPrefix(text, []byte("$ANSIBLE_VAULT")):
		return "", fmt.Errorf("inventory: %s:1: it is encrypted; `ansible-vault view %s` shows it", name, name)
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")):
		return RSpec, nil
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		return AnsibleYAML, nil // of which JSON is a part
	}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || line[0] == ';' {
			continue
		}
		for _, t := range telling {
			if t.line.Match(line) {
				return t.format, nil
			}
		}
	}
	base := strings.ToLower(filepath.Base(name))
	switch filepath.Ext(base) {
	case ".hcl":
		return HCL, nil
	case ".ini", ".cfg":
		return AnsibleINI, nil
	case ".yml", ".yaml", ".json":
		return AnsibleYAML, nil
	case ".xml", ".rspec", ".mrspec":
		return RSpec, nil
	case ".ssh_config", ".sshconfig":
		return SSHConfig, nil
	}
	if base == "ssh_config" || base == "config" {
		return SSHConfig, nil
	}
	return "", fmt.Errorf("inventory: %s: which format it is cannot be seen; say it before the name, as in ini:%s (%s are known)", name, name, known())
}
