// Command bela-platform is one component of the built-in platform. The controller
// pushes it to the nodes that run such components, and the agent there starts it;
// nobody needs to run it by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"bela/agents/platform"
)

const usage = "usage: bela-platform broker|gateway|nats|stan|hub -config FILE\n"

func main() {
	kind, config, ok := arguments(os.Args[1:])
	if !ok {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := platform.Main(context.Background(), kind, config, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bela-platform:", err)
		os.Exit(1)
	}
}

func arguments(args []string) (kind, config string, ok bool) {
	if len(args) == 0 {
		return "", "", false
	}
	flags := flag.NewFlagSet("bela-platform", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&config, "config", "", "the component's configuration")
	if err := flags.Parse(args[1:]); err != nil || config == "" || flags.NArg() > 0 {
		return "", "", false
	}
	return args[0], config, true
}
