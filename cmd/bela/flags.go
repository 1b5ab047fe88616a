package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"bela/experiment"
)

// flags is a command's flag set; flags may stand before, between and after the
// arguments, with one dash or two.
type flags struct {
	*flag.FlagSet
	a    *app
	args string // the arguments as the help shows them
}

func (a *app) flags(name, args string) *flags {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {} // errors are told in one line; the help is asked for
	return &flags{f, a, args}
}

// parse returns the arguments, of which there must be from least to most.
func (f *flags) parse(args []string, least, most int) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			f.help()
			return nil, err
		} else if err != nil {
			return nil, usageError("%s: %v%s; `bela %s -h` lists the flags", f.Name(), err, f.hint(args), f.Name())
		}
		if f.NArg() == 0 {
			break
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
	switch {
	case len(rest) < least:
		return nil, usageError("usage: bela %s [FLAGS] %s", f.Name(), f.args)
	case len(rest) > most:
		return nil, usageError("%s: what is %q for? usage: bela %s [FLAGS] %s", f.Name(), rest[most], f.Name(), f.args)
	}
	return rest, nil
}

func (f *flags) help() {
	fmt.Fprintf(f.a.out, "usage: bela %s [FLAGS] %s\n", f.Name(), f.args)
	f.SetOutput(f.a.out)
	f.PrintDefaults()
	f.SetOutput(io.Discard)
}

// hint names the flag that was probably meant by one that there is not.
func (f *flags) hint(args []string) string {
	var names []string
	f.VisitAll(func(x *flag.Flag) { names = append(names, x.Name) })
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if near := experiment.Nearest(name, names); name != "" && f.Lookup(name) == nil && near != "" {
			return fmt.Sprintf(": did you mean -%s?", near)
		}
	}
	return ""
}

func usageError(format string, args ...any) error {
	return &statusError{statusUsage, fmt.Errorf(format, args...)}
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// fileFlags are the flags of every command that takes an experiment file.
type fileFlags struct {
	vars      list
	varFile   *string
	inventory *string
}

func (f *flags) file() *fileFlags {
	ff := new(fileFlags)
	f.Var(&ff.vars, "var", "set a variable, as `NAME=VALUE`; may be repeated")
	ff.varFile = f.String("var-file", "", "set variables from a `FILE` with lines name = value")
	ff.inventory = f.String("inventory", "", "take the machines from `FILE` instead of the experiment's hosts: HCL, an Ansible inventory, an ssh_config or an RSpec; a format before it, as in ini:FILE, forces that")
	return ff
}
