package main

import (
	"strings"
	"testing"
)

// Somebody who starts it by hand must be told how, instead of a component that is
// not what was asked for.
func TestArguments(t *testing.T) {
	for line, want := range map[string]string{
		"broker -config c.json":       "broker c.json",
		"":                            "",
		"broker":                      "",
		"broker -config":              "",
		"broker -config c.json extra": "",
		"-config c.json":              "",
		"hub -verbose -config c.json": "",
	} {
		kind, config, ok := arguments(strings.Fields(line))
		if got := kind + " " + config; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", line, got, ok, want)
		}
	}
}
