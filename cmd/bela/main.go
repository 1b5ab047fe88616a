// Command bela runs experiments on testbeds. Each command has a file of its own
// that turns its arguments into calls of the packages that do the work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"bela/campaign"
	"bela/experiment"
)

// version and commit are set by the linker.
var (
	version = "dev"
	commit  = ""
)

// The exit statuses beyond those of a run.
const statusUsage = 2

// app is the process's surroundings, so that a test can hold them.
type app struct {
	in       *os.File
	out, err *os.File
	env      func(string) (string, bool)
	args     []string // as called, with the program's name
}

// command is one of bela's commands.
type command struct {
	name, args, short string
	run               func(context.Context, *app, []string) error
}

// commands in the order of the help.
func commands() []command {
	return []command{
		{"run", "FILE", "run an experiment and leave its results", runRun},
		{"resume", "[RUN]", "go on with a run that was broken off", runResume},
		{"validate", "FILE", "check an experiment file; needs no network", runValidate},
		{"plan", "FILE", "show every cell that a run would do; needs no network", runPlan},
		{"doctor", "FILE", "check that every node is fit for the experiment", runDoctor},
		{"nodes", "FILE", "show the nodes and what they are", runNodes},
		{"clean", "FILE", "remove all that bela left on the nodes", runClean},
		{"report", "[RUN]", "show a run's results again", runReport},
		{"compare", "RUN RUN…", "hold runs against the first, and say what the repetitions show", runCompare},
		{"history", "DIR", "one experiment over its runs, and the runs at which its numbers changed", runHistory},
		{"recommend", "[RUN]", "requests and limits for each component, from what was measured", runRecommend},
		{"export", "[RUN]", "write a run as CSV, Parquet or JSON, or send it to InfluxDB", runExport},
		{"version", "", "say which bela this is", runVersion},
		{"completion", "bash|zsh|fish", "print a completion script for a shell", runCompletion},
	}
}

func main() {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv, args: os.Args}
	os.Exit(a.main(context.Background()))
}

// main runs the command that the arguments name and returns the exit status.
func (a *app) main(ctx context.Context) int {
	args := a.args[1:]
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		a.usage(a.out)
		return 0
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return a.exit(c.run(ctx, a, args[1:]))
		}
	}
	names := make([]string, 0, len(commands()))
	for _, c := range commands() {
		names = append(names, c.name)
	}
	hint := ""
	if near := experiment.Nearest(args[0], names); near != "" {
		hint = fmt.Sprintf(": did you mean %q?", near)
	}
	fmt.Fprintf(a.err, "bela: unknown command %q%s\n", args[0], hint)
	fmt.Fprintln(a.err, "commands:", strings.Join(names, " ")+"; `bela help` says what they do")
	return statusUsage
}

func (a *app) usage(w io.Writer) {
	fmt.Fprint(w, "bela runs experiments on testbeds of bare Linux machines, over SSH.\n\nusage: bela COMMAND [FLAGS] [ARGUMENTS]\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", c.name, c.args, c.short)
	}
	_ = t.Flush()
	fmt.Fprint(w, "\nRUN is a run's directory or `latest`. `bela COMMAND -h` lists a command's flags.\n"+
		"exit status: 0 done · 1 an expectation failed · 2 usage or experiment file · 3 a node could not be\n"+
		"reached or used · 4 cells are missing or invalid, or an expectation could not be decided · 5 internal ·\n"+
		"130 interrupted\n")
}

// statusError is an error with the exit status that it asks for.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// withStatus gives err an exit status; nil stays nil.
func withStatus(status campaign.Status, err error) error {
	if err == nil {
		return nil
	}
	return &statusError{int(status), err}
}

// quiet is an end with a status where all has been said.
type quiet int

func (q quiet) Error() string { return fmt.Sprintf("exit status %d", int(q)) }

// exit says what went wrong and returns the exit status.
func (a *app) exit(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if q, ok := errors.AsType[quiet](err); ok {
		return int(q)
	}
	if ds, ok := errors.AsType[experiment.Diagnostics](err); ok {
		_ = ds.Format(a.err, a.width(a.err), a.color(a.err))
		return statusUsage
	}
	fmt.Fprintln(a.err, "bela:", printable(err.Error()))
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	return int(campaign.Internal)
}

// width is the terminal's, or 100 where there is none.
func (a *app) width(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
		return w
	}
	return 100
}

// color says whether to use colours: on a terminal, unless NO_COLOR is set.
func (a *app) color(f *os.File) bool {
	if v, ok := a.env("NO_COLOR"); ok && v != "" {
		return false
	}
	return term.IsTerminal(int(f.Fd()))
}
