package inventory

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	bracketedPort = regexp.MustCompile(`^\[([^\]]*:[^\]]*)\]:([0-9]+)$`)
	trailingPort  = regexp.MustCompile(`^((?:[^:\[\]]|\[[^\]]*\])+):([0-9]+)$`)
)

// hostNames expands a host of an Ansible inventory: "web[01:50].example.org",
// "db[a:c]", "box[0:8:2]:2222". It gives at most the number of names asked for.
func hostNames(pattern string, most int) (names []string, port int, err error) {
	name, digits := pattern, ""
	if m := bracketedPort.FindStringSubmatch(pattern); m != nil {
		name, digits = m[1], m[2]
	} else if m := trailingPort.FindStringSubmatch(pattern); m != nil {
		name, digits = m[1], m[2]
	}
	if digits != "" {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return nil, 0, fmt.Errorf("port %s is not a number from 1 to 65535", clip(digits))
		}
		port = int(n)
	}
	if strings.HasSuffix(name, ":") && !strings.HasSuffix(name, "::") && !strings.Contains(name, "[") {
		return nil, 0, fmt.Errorf("host %q ends with a colon: the port is missing", clip(pattern))
	}
	names, err = expand(name, most)
	return names, port, err
}

// expand replaces the first range by each of its values, and goes on with the rest.
func expand(name string, most int) ([]string, error) {
	head, rest, ok := strings.Cut(name, "[")
	if !ok {
		return []string{name}, nil
	}
	bounds, tail, ok := strings.Cut(rest, "]")
	if !ok {
		return nil, fmt.Errorf("host %q: a [ has no ]", clip(name))
	}
	values, err := rangeValues(bounds, most)
	if err != nil {
		return nil, fmt.Errorf("host %q: range [%s]: %w", clip(name), clip(bounds), err)
	}
	tails, err := expand(tail, most)
	if err != nil {
		return nil, err
	}
	if len(values)*len(tails) > most {
		return nil, tooMany(most)
	}
	var names []string
	for _, v := range values {
		for _, t := range tails {
			names = append(names, head+v+t)
		}
	}
	return names, nil
}

func tooMany(most int) error {
	return fmt.Errorf("it makes more than %d hosts, and an inventory has %d at most", most, maxHosts)
}

// rangeValues gives the values of "begin:end" or "begin:end:step"; both ends
// belong to it. A first number with a leading 0 sets the width of all.
func rangeValues(bounds string, most int) ([]string, error) {
	parts := strings.Split(bounds, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return nil, fmt.Errorf("want begin:end or begin:end:step, as in [01:50]")
	}
	step := 1
	if len(parts) == 3 {
		var err error
		if step, err = strconv.Atoi(parts[2]); err != nil || step < 1 {
			return nil, fmt.Errorf("the step %q is not a number above 0", clip(parts[2]))
		}
	}
	begin, end := parts[0], parts[1]
	if begin == "" {
		begin = "0"
	}
	if letter(begin) && letter(end) {
		return letters(begin[0], end[0], step)
	}
	width := 0
	if begin[0] == '0' && len(begin) > 1 {
		if width = len(begin); width != len(end) {
			return nil, fmt.Errorf("begin and end have the same number of digits where begin has a leading 0")
		}
	}
	first, err1 := strconv.ParseUint(begin, 10, 31)
	last, err2 := strconv.ParseUint(end, 10, 31)
	switch {
	case err1 != nil || err2 != nil:
		return nil, fmt.Errorf("want two numbers, or two letters")
	case first > last:
		return nil, fmt.Errorf("it ends before it begins")
	case (last-first)/uint64(step) >= uint64(most):
		return nil, tooMany(most)
	}
	var values []string
	for n := first; n <= last; n += uint64(step) {
		values = append(values, fmt.Sprintf("%0*d", width, n))
	}
	return values, nil
}

func letter(s string) bool {
	return len(s) == 1 && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z')
}

// letters counts a to z, then A to Z.
func letters(begin, end byte, step int) ([]string, error) {
	const all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	first, last := strings.IndexByte(all, begin), strings.IndexByte(all, end)
	if first > last {
		return nil, fmt.Errorf("it ends before it begins")
	}
	var values []string
	for i := first; i <= last; i += min(step, len(all)) {
		values = append(values, all[i:i+1])
	}
	return values, nil
}
