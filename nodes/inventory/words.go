package inventory

import (
	"errors"
	"strings"
)

// words splits a line as a POSIX shell does, without expanding anything: spaces
// part, quotes and backslashes join. With comments, a # that begins a word ends
// the line.
func words(line string, comments bool) ([]string, error) {
	var list []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			if inWord {
				list = append(list, word.String())
				word.Reset()
			}
			inWord = false
		case c == '#' && comments && !inWord:
			return list, nil
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a ' has no second one")
			}
			word.WriteString(line[i+1 : i+1+end])
			i, inWord = i+1+end, true
		case c == '"':
			end, ok := doubleQuoted(&word, line[i+1:])
			if !ok {
				return nil, errors.New("a \" has no second one")
			}
			i, inWord = i+1+end, true
		case c == '\\':
			if i+1 == len(line) {
				return nil, errors.New("the line ends with a \\")
			}
			i++
			word.WriteByte(line[i])
			inWord = true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		list = append(list, word.String())
	}
	return list, nil
}

// doubleQuoted writes what stands before the closing quote, and says where that is.
func doubleQuoted(word *strings.Builder, rest string) (end int, ok bool) {
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return i, true
		case c == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\'):
			i++
			word.WriteByte(rest[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0, false
}
