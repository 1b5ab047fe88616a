package inventory

import (
	"fmt"
	"strconv"
	"strings"

	"bela/nodes"
)

// sshArgs is what arguments of ssh say about the way to a machine.
type sshArgs struct {
	jump       []string
	keyFiles   []string
	knownHosts string
	config     string
	port       int
	user       string
	// dest is the argument that is no option: the host of an inner ssh.
	dest string
	// forward is the value of -W.
	forward string
	// unused are options that bela does not use, with the reason.
	unused [][2]string
}

const notUsed = "bela does not use it"

// parseSSHArgs reads arguments of ssh, as ansible_ssh_common_args holds them.
func parseSSHArgs(list []string, depth int) (*sshArgs, error) {
	a := &sshArgs{}
	for i := 0; i < len(list); i++ {
		arg := list[i]
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			if a.dest != "" {
				return nil, fmt.Errorf("what is %q for?", clip(arg))
			}
			a.dest = arg
			continue
		}
		// Letters without a value may stand together, and before one that has a value.
		for j := 1; j < len(arg); j++ {
			letter := arg[j]
			if !strings.ContainsRune("BbcDEeFIiJLlmOoPpQRSWw", rune(letter)) {
				if !strings.ContainsRune("qTtnN", rune(letter)) {
					a.unused = append(a.unused, [2]string{"-" + string(letter), notUsed})
				}
				continue
			}
			value := arg[j+1:]
			if value == "" {
				if i++; i == len(list) {
					return nil, fmt.Errorf("-%c has no value", letter)
				}
				value = list[i]
			}
			if err := a.option(letter, value, depth); err != nil {
				return nil, err
			}
			break
		}
	}
	return a, nil
}

// option takes one option with its value.
func (a *sshArgs) option(letter byte, value string, depth int) error {
	switch letter {
	case 'J':
		return a.keyword("ProxyJump", value, depth)
	case 'i':
		return a.keyword("IdentityFile", value, depth)
	case 'p':
		return a.keyword("Port", value, depth)
	case 'l':
		return a.keyword("User", value, depth)
	case 'F':
		a.config = value
	case 'W':
		a.forward = value
	case 'o':
		name, v, ok := strings.Cut(value, "=")
		if !ok {
			name, v, ok = strings.Cut(strings.TrimSpace(value), " ")
		}
		if !ok {
			return fmt.Errorf("-o %s: want -o NAME=VALUE", clip(value))
		}
		return a.keyword(strings.TrimSpace(name), strings.TrimSpace(v), depth)
	default:
		a.unused = append(a.unused, [2]string{"-" + string(letter), notUsed})
	}
	return nil
}

// keyword takes one keyword of ssh_config. Of two the first counts, as in ssh.
func (a *sshArgs) keyword(name, value string, depth int) error {
	switch strings.ToLower(name) {
	case "proxyjump":
		jump, err := jumps(value)
		if a.jump == nil {
			a.jump = jump
		}
		return err
	case "proxycommand":
		inner, err := jumpOf(value, depth)
		if err != nil || inner == nil {
			return err
		}
		if a.jump == nil {
			a.jump, a.keyFiles, a.unused = inner.jump, append(a.keyFiles, inner.keyFiles...), append(a.unused, inner.unused...)
		}
	case "identityfile":
		a.keyFiles = append(a.keyFiles, value)
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("port %q is not a number from 1 to 65535", clip(value))
		}
		if a.port == 0 {
			a.port = int(n)
		}
	case "user":
		if a.user == "" {
			a.user = value
		}
	case "userknownhostsfile":
		if value == "/dev/null" {
			a.unused = append(a.unused, [2]string{name, hostKeysStay})
		} else if a.knownHosts == "" {
			a.knownHosts = value
		}
	case "stricthostkeychecking":
		a.unused = append(a.unused, [2]string{name, hostKeysStay})
	default:
		a.unused = append(a.unused, [2]string{name, notUsed})
	}
	return nil
}

const hostKeysStay = "host keys are checked all the same; set host_keys in the experiment's ssh block for another policy"

// jumps reads the value of ProxyJump.
func jumps(value string) ([]string, error) {
	if strings.EqualFold(value, "none") || value == "" {
		return nil, nil
	}
	var list []string
	for _, one := range strings.Split(value, ",") {
		h, err := nodes.ParseHost(strings.TrimPrefix(strings.TrimSpace(one), "ssh://"))
		if err != nil {
			return nil, fmt.Errorf("jump host: %w", err)
		}
		list = append(list, h.String())
	}
	return list, nil
}

// jumpOf reads a ProxyCommand that is "ssh -W %h:%p host", which is a jump host
// in older words. Others are programs, and bela runs none. What it returns has
// that host last among its jumps; nil is no command.
func jumpOf(command string, depth int) (*sshArgs, error) {
	if strings.EqualFold(command, "none") {
		return nil, nil
	}
	other := fmt.Errorf("the ProxyCommand %q is not of the form ssh -W %%h:%%p HOST; use ProxyJump instead", clip(command))
	list, err := words(command, false)
	if err != nil || len(list) == 0 || depth > 4 {
		return nil, other
	}
	if base := list[0][strings.LastIndexByte(list[0], '/')+1:]; base != "ssh" {
		return nil, other
	}
	a, err := parseSSHArgs(list[1:], depth+1)
	if err != nil || a.dest == "" || strings.Trim(a.forward, "[]") == "" || strings.NewReplacer("[", "", "]", "").Replace(a.forward) != "%h:%p" {
		return nil, other
	}
	h, err := nodes.ParseHost(strings.TrimPrefix(a.dest, "ssh://"))
	if err != nil {
		return nil, fmt.Errorf("jump host: %w", err)
	}
	if h.User == "" {
		h.User = a.user
	}
	if h.Port == 0 {
		h.Port = a.port
	}
	if err := checkHost(h); err != nil {
		return nil, fmt.Errorf("jump host: %w", err)
	}
	a.jump = append(a.jump, h.String())
	return a, nil
}
