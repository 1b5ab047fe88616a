// Command bela-agent is bela's part on a node. The controller pushes it, starts
// it and removes it again; nobody needs to run it by hand. The built-in platform is
// another program, bela-platform.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bela/agents"
	"bela/agents/clock"
	"bela/agents/component"
	"bela/agents/fault"
	"bela/agents/feed"
	"bela/agents/inspect"
	"bela/agents/launch"
)

// version is set by the linker.
var version = "dev"

const usage = `usage: bela-agent serve -dir DIR -run RUN [-lease 2m] [-keep 10m]
       bela-agent attach -dir DIR
       bela-agent launch -dir DIR -timeout DURATION -- SERVE-ARGUMENTS
       bela-agent inspect [-remove]
       bela-agent feed -address HOST -tokens N -limit DURATION [-file FILE]
       bela-agent version
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	failed, launched := errors.AsType[*launch.ExitError](err)
	switch {
	case launched:
		fmt.Fprintln(os.Stderr, failed)
		os.Exit(failed.Status)
	case errors.Is(err, errUsage), errors.Is(err, inspect.ErrUsage), errors.Is(err, launch.ErrUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bela-agent:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1:], errs)
	case "attach":
		return attach(args[1:], in, out)
	case launch.Command:
		self, err := os.Executable()
		if err != nil {
			return err
		}
		dir, err := launch.Main(args[1:], out, self)
		if err != nil {
			return err
		}
		return join(dir, in, out)
	case component.ShimCommand:
		return component.Shim(args[1:])
	case "inspect":
		return inspect.Main(ctx, args[1:], in, out, version, agents.ListenAddress)
	case fault.Command:
		return fault.Main(ctx, args[1:], in, out)
	case feed.Command:
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return feed.Main(ctx, args[1:], in, out, self)
	case "version":
		_, err := fmt.Fprintln(out, version)
		return err
	}
	return errUsage
}

func serve(ctx context.Context, args []string, errs io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "bela's directory on this node")
	run := flags.String("run", "", "the run to serve")
	lease := flags.Duration("lease", 2*time.Minute, "how long to go on without a controller")
	keep := flags.Duration("keep", 10*time.Minute, "how long to hold results after that")
	if err := flags.Parse(args); err != nil || *dir == "" || *run == "" || *lease <= 0 || *keep < 0 {
		return errUsage
	}
	// A node with thousands of devices needs as many sockets as it may have.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		files.Cur = files.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	injected, err := clock.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	return agents.Serve(ctx, agents.Config{
		Dir: *dir, Run: *run, Lease: *lease, Keep: *keep, Self: self, Version: version,
		Clock:  clock.New(injected),
		Logger: slog.New(slog.NewTextHandler(errs, nil)),
	})
}

// attach joins stdin and stdout with the agent's socket. It ends when the agent
// closes the connection, or when the other side does.
func attach(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("attach", flag.ContinueOnError)
	dir := flags.String("dir", "", "bela's directory on this node")
	if err := flags.Parse(args); err != nil || *dir == "" {
		return errUsage
	}
	return join(*dir, in, out)
}

func join(dir string, in io.Reader, out io.Writer) error {
	conn, err := agents.Dial(dir)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(conn, in)
		ended <- err
	}()
	go func() {
		_, err := io.Copy(out, conn)
		ended <- err
	}()
	if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
