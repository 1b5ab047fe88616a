package inspect

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// readFile is a short file's text without the white space around it; empty
// where there is none.
func readFile(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(io.LimitReader(f, maxFact))
	return strings.TrimSpace(string(text))
}

// number is a decimal number, or 0.
func number(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// printable bounds text that processes choose for themselves and takes out
// what would steer a terminal.
func printable(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}
