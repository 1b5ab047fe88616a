// Command testbed makes and removes a testbed of network namespaces that stays
// after it; make testbed and make testbed-down run it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bela/nodes/netns"
)

const usage = `usage: testbed up [-name NAME] [-n NODES] [-gateway]
       testbed down [-name NAME]
       testbed list`

var errUsage = errors.New(usage)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	name := flags.String("name", "testbed", "the bed's name")
	count := flags.Int("n", 4, "how many nodes, at least 4")
	gateway := flags.Bool("gateway", false, "reach the nodes through a gateway only")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return up(ctx, out, *name, *count, *gateway)
	case "down":
		return netns.Down(ctx, *name)
	case "list":
		names, err := netns.List()
		for _, n := range names {
			_, _ = fmt.Fprintln(out, n)
		}
		return err
	}
	return errUsage
}

func up(ctx context.Context, out io.Writer, name string, count int, gateway bool) error {
	if count < 4 {
		return fmt.Errorf("testbed: %d nodes: at least 4 are needed, one a role", count)
	}
	began := time.Now()
	bed, err := netns.Up(ctx, netns.Options{Name: name, Groups: netns.Spread(count), Gateway: gateway, Keep: true})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d nodes are up after %.1f s; make testbed-down removes them:\n\n  bin/bela run experiments/quick.hcl -inventory %s\n",
		len(bed.Nodes()), time.Since(began).Seconds(), bed.Inventory())
	return err
}
