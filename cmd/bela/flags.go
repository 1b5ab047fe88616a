package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"bela/experiment"
	"bela/nodes"
)

// flags is a command's flag set; flags may stand before, between and after the
// arguments, with one dash or two.
type flags struct {
	*flag.FlagSet
	a *app
}

func (a *app) flags(name, args string) *flags {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {
		f.SetOutput(a.out)
		fmt.Fprintf(a.out, "usage: bela %s [FLAGS] %s\n", name, args)
		f.PrintDefaults()
		f.SetOutput(io.Discard)
	}
	return &flags{f, a}
}

// parse returns the arguments, of which there must be from least to most.
func (f *flags) parse(args []string, least, most int) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			if err == flag.ErrHelp {
				return nil, err
			}
			return nil, usageError("%s: %v; `bela %s -h` lists the flags", f.Name(), err, f.Name())
		}
		if f.NArg() == 0 {
			break
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
	switch {
	case len(rest) < least:
		return nil, usageError("%s needs %d argument(s) and got %d; `bela %s -h` shows how to call it", f.Name(), least, len(rest), f.Name())
	case len(rest) > most:
		return nil, usageError("%s: what is %q for? `bela %s -h` shows how to call it", f.Name(), rest[most], f.Name())
	}
	return rest, nil
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
	ff.inventory = f.String("inventory", "", "take the machines from `FILE` instead of the experiment's hosts")
	return ff
}

// load reads the experiment, with the machines of the inventory if there is one.
func (ff *fileFlags) load(a *app, path string) (*experiment.Experiment, *nodes.Inventory, error) {
	in := experiment.Inputs{Vars: ff.vars, VarFile: *ff.varFile, Env: a.env}
	var inventory *nodes.Inventory
	if *ff.inventory != "" {
		var err error
		if inventory, err = nodes.ReadInventory(*ff.inventory); err != nil {
			return nil, nil, &statusError{statusUsage, err}
		}
		in.Hosts = make(map[string][]string)
		for _, g := range inventory.Groups {
			for _, h := range g.Hosts {
				in.Hosts[g.Name] = append(in.Hosts[g.Name], h.String())
			}
		}
	}
	e, err := experiment.Load(path, in)
	if err != nil {
		return nil, nil, &statusError{statusUsage, err}
	}
	if ws := e.Warnings(); len(ws) > 0 {
		_ = ws.Format(a.err, a.width(a.err), a.color(a.err))
	}
	return e, inventory, nil
}
