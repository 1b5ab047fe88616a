package main

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"

	"bela/agents"
	"bela/agents/clock"
	"bela/agents/inspect"
)

// runInspect answers questions about the node over stdin and stdout until
// stdin ends. With -remove the program first removes its own file and the
// directory that this leaves empty, so that nothing stays behind however the
// conversation ends.
func runInspect(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	remove := flags.Bool("remove", false, "remove this program's file first")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	if *remove {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := os.Remove(self); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(self))
	}
	injected, err := clock.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- inspect.Serve(ctx, inspect.Config{
			Clock: clock.New(injected), Version: version, PID: os.Getpid(),
			ListenAddress: agents.ListenAddress, Proc: "/proc", Sys: "/sys",
		}, in, out)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // a signal does not end the reading of stdin
		return context.Cause(ctx)
	}
}
