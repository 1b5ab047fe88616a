// Command relaytest is a component for bela's own tests: an MQTT wire that does
// exactly what it is told to messages on their way, and writes down what it did,
// so that a run's numbers can be held against it. It runs as any process does
// and takes its place from what bela puts into its environment. It is part of no
// release, and knows nothing of how bela counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// orders are what the relay shall do. Every n-th and after n count the scheduled
// messages of the devices, from 1, over all connections; 0 is never.
type orders struct {
	up bool // they are for what clients publish, not for what clients receive

	drop   int64 // every n-th is removed
	double int64 // every n-th that is not is passed on twice
	swap   int64 // every n-th that is neither comes after the next of its device
	// swallow: every n-th is acknowledged to its publisher, and removed.
	swallow int64

	delay    time.Duration // each message takes so long
	ackDelay time.Duration // each acknowledgement takes so long
	slow     int64         // messages pass at so many bytes a second

	stallAfter, cutAfter int64
	stall                time.Duration // from the n-th on nothing passes for so long
	// cut: at the n-th all connections end, with what is on the way.

	trace bool // write down each message that was passed on
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "relaytest:", err)
		os.Exit(1)
	}
}

func run() error {
	var o orders
	address := net.JoinHostPort(os.Getenv("BELA_ADDRESS"), os.Getenv("BELA_PORT"))
	broker, _, _ := strings.Cut(os.Getenv("BELA_LINK_BROKER"), ",")
	path := flag.String("report", "", "the file to write down what was done in, one JSON object a line")
	flag.BoolVar(&o.up, "up", false, "act on what clients publish, not on what they receive")
	flag.Int64Var(&o.drop, "drop", 0, "remove every n-th message")
	flag.Int64Var(&o.double, "double", 0, "pass every n-th message on twice")
	flag.Int64Var(&o.swap, "swap", 0, "pass every n-th message on after the next of its device")
	flag.Int64Var(&o.swallow, "swallow", 0, "acknowledge every n-th message and remove it")
	flag.DurationVar(&o.delay, "delay", 0, "hold each message for so long")
	flag.DurationVar(&o.ackDelay, "ack-delay", 0, "hold each acknowledgement for so long")
	flag.Int64Var(&o.slow, "slow", 0, "pass messages on at so many bytes a second")
	flag.Int64Var(&o.stallAfter, "stall-after", 0, "stall at the n-th message")
	flag.DurationVar(&o.stall, "stall", 0, "how long to stall")
	flag.Int64Var(&o.cutAfter, "cut-after", 0, "cut all connections at the n-th message")
	flag.BoolVar(&o.trace, "trace", false, "write down each message that is passed on")
	flag.Parse()
	if broker == "" {
		return errors.New("BELA_LINK_BROKER says no address: link the component to a broker")
	}
	file, err := os.OpenFile(*path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("the report: %w", err)
	}
	defer func() { _ = file.Close() }() // each line is written by itself
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	r := newRelay(o, broker, file)
	return r.serve(ctx, l)
}
