package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	invocationFile = "invocation.json"
	inventoryFile  = "inventory.hcl"
)

// Invocation is how a run was called, as far as the other files of its
// directory do not say it. Paths are absolute.
type Invocation struct {
	// Experiment is the file's path; experiment.hcl is what was in it.
	Experiment string `json:"experiment"`
	// Inventory is the inventory's path, empty where there was none, and
	// InventoryFormat how it was read; inventory.hcl is what was in one of bela's
	// own format. Others may hold passwords, and are not kept.
	Inventory       string `json:"inventory,omitempty"`
	InventoryFormat string `json:"inventory_format,omitempty"`
	// Only selected the cells; empty is all.
	Only string `json:"only,omitempty"`
	// Secrets are where the experiment had secrets from outside, in words: their
	// values are nowhere in the run.
	Secrets []string `json:"secrets,omitempty"`
	// KeepAgents says that bela's programs stay on the nodes.
	KeepAgents bool `json:"keep_agents,omitempty"`
}

// Invocation reads how the run was called.
func (r *Reader) Invocation() (Invocation, error) {
	var in Invocation
	err := readJSON(filepath.Join(r.Dir, invocationFile), &in)
	return in, err
}

// Experiment is the experiment file as the run began with it; secrets in it are
// masked.
func (r *Reader) Experiment() ([]byte, error) {
	return os.ReadFile(filepath.Join(r.Dir, "experiment.hcl"))
}

// Inventory is the path of the inventory as the run began with it, in the run's
// directory; empty where it has none.
func (r *Reader) Inventory() (string, error) {
	path := filepath.Join(r.Dir, inventoryFile)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return path, err
}

// Variables are the variables as the run began with them, each in the form that
// -var takes; those that are secret are masked.
func (r *Reader) Variables() (map[string]string, error) {
	var v map[string]string
	err := readJSON(filepath.Join(r.Dir, "variables.json"), &v)
	return v, err
}
