package tui

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// playerEnv makes the test binary play the scripted run in a real terminal
// instead of testing: its value is how many times faster than life. Build one
// with `go test -c -o /tmp/tui.test ./tui` and look at it:
//
//	BELA_TUI_PLAY=4 /tmp/tui.test
const playerEnv = "BELA_TUI_PLAY"

// stubbornEnv makes the player go on after the first q.
const stubbornEnv = "BELA_TUI_STUBBORN"

func TestMain(m *testing.M) {
	speed := os.Getenv(playerEnv)
	if speed == "" {
		os.Exit(m.Run())
	}
	by, err := strconv.ParseFloat(speed, 64)
	if err == nil {
		err = play(by)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// play shows the whole run, and then stays until it is interrupted.
func play(speed float64) error {
	s := whole()
	begin := time.Now()
	now := func() time.Time { return s.start.Add(time.Duration(float64(time.Since(begin)) * speed)) }
	stop := make(chan struct{}, 8)
	var presses atomic.Int32
	v, err := NewDashboard(os.Stdin, os.Stdout, Options{Now: now, Interrupt: func() {
		switch n := presses.Add(1); {
		case n > 1:
			os.Exit(130)
		case os.Getenv(stubbornEnv) == "":
			stop <- struct{}{}
		}
	}})
	if err != nil {
		return err
	}
	for _, e := range s.events {
		select {
		case <-stop:
			return v.Close()
		case <-time.After(time.Duration(float64(e.Time.Sub(now())) / speed)):
		}
		v.Handle(e)
	}
	<-stop
	err = v.Close()
	fmt.Println("the player has ended")
	return err
}
