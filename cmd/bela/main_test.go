package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Whole runs wait more than they work: more of them side by side than there are
	// CPUs. -parallel says otherwise.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"bela": main})
}

// TestScripts is bela's command line as a user types it: what it prints and the
// exit statuses of the contract.
func TestScripts(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	commands := resumeCommands()
	commands["status"], commands["store-run"] = status, storeRun
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXPERIMENTS", root+"/../../experiments")
			env.Setenv("REFERENCE", root+"/../../results/reference/bela-2020")
			return nil
		},
		Cmds: commands,
	})
}

// status runs bela and demands an exit status: status 2 validate broken.hcl.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: status STATUS ARGUMENTS")
	}
	err := ts.Exec("bela", args[1:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	if want := "exit status " + args[0]; got != want && (args[0] != "0" || got != "0") {
		ts.Fatalf("bela %v: %s, want %s", args[1:], got, want)
	}
}
