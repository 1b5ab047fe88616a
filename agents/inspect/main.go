package inspect

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"

	"bela/agents/clock"
)

// ErrUsage says that the arguments are not those of an inspection.
var ErrUsage = errors.New("usage: inspect [-remove]")

// Main looks at the machine it runs on, asked over in and answering over out,
// until in ends or ctx does. With -remove the program first removes its own file
// and the directory that this leaves empty, so that nothing stays behind however
// the conversation ends. listenAddress is as in Config.
func Main(ctx context.Context, args []string, in io.Reader, out io.Writer, version string, listenAddress func(string) string) error {
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	remove := flags.Bool("remove", false, "remove this program's file first")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return ErrUsage
	}
	if *remove {
		if err := removeSelf(); err != nil {
			return err
		}
	}
	injected, err := clock.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Config{
			Clock: clock.New(injected), Version: version, PID: os.Getpid(),
			ListenAddress: listenAddress, Proc: "/proc", Sys: "/sys",
		}, in, out)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // which does not end the reading of in
		return context.Cause(ctx)
	}
}

// removeSelf removes this program's file. The kernel keeps what is open until
// the process ends.
func removeSelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Remove(self); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(self)) // fails where something else is in it
	return nil
}
