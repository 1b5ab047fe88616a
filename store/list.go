package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Listed is a directory below an experiment's, as far as listing looks into it.
type Listed struct {
	// Dir is the run's directory.
	Dir string
	// Experiment and StartedAt are as the run says.
	Experiment string
	StartedAt  time.Time
	// Err is why the directory is no run that can be read; nil where it is one.
	// The other fields but Dir are then empty.
	Err error
}

// List lists the runs of an experiment in the order of their start; those that
// began at the same time by their directories. Directories that cannot be read as
// runs stand among them with their error. experiment is a directory, or one below
// root: an experiment's name. Only what a run says of itself is read; opening it
// can still fail.
//
// Errors: there is no such directory, it is a run itself, it holds no run that
// can be read, or that of the file system.
func List(experiment, root string) (dir string, runs []Listed, err error) {
	candidates := []string{experiment, filepath.Join(root, experiment), filepath.Join(root, fileName(experiment))}
	for _, c := range slices.Compact(candidates) {
		found, listErr := list(c)
		if errors.Is(listErr, fs.ErrNotExist) {
			continue
		}
		if listErr == nil {
			return c, found, nil
		}
		err = cmp.Or(err, listErr)
	}
	if err == nil {
		err = fmt.Errorf("%s: there is no such directory; give results/<experiment>, or the experiment's name and with -results where its runs are", experiment)
	}
	return "", nil, err
}

func list(dir string) ([]Listed, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is a file; give the directory that holds an experiment's runs", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "environment.json")); err == nil {
		return nil, fmt.Errorf("%s is one run; give the directory of the experiment, which holds its runs", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var runs []Listed
	readable := false
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") { // latest is a link
			continue
		}
		l := listed(filepath.Join(dir, e.Name()))
		readable = readable || l.Err == nil
		runs = append(runs, l)
	}
	if !readable {
		if len(runs) > 0 {
			return nil, fmt.Errorf("%s holds no run that can be read; %w", dir, runs[0].Err)
		}
		return nil, fmt.Errorf("%s holds no run; runs are in results/<experiment>/", dir)
	}
	slices.SortStableFunc(runs, func(a, b Listed) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.Dir, b.Dir))
	})
	return runs, nil
}

// listed looks into a directory.
func listed(dir string) Listed {
	r := Reader{Dir: dir}
	var plan struct {
		Experiment string `json:"experiment"`
	}
	err := r.readEnvironment()
	if err == nil {
		err = readJSON(filepath.Join(dir, "plan.json"), &plan)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w: it ended while its plan was being stored; start it again", dir, ErrIncomplete)
		}
	}
	if err != nil {
		return Listed{Dir: dir, Err: err}
	}
	return Listed{Dir: dir, Experiment: plan.Experiment, StartedAt: r.Environment.StartedAt}
}
