package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"bela/measure"
)

// faultsFile is where a cell's faults are, with what they are held against. A
// cell without faults has none.
const faultsFile = "faults.json"

// storedFaults is a faults file.
type storedFaults struct {
	Faults []measure.Fault `json:"faults"`
	// Arrived is what customers got in each second of load, from the first.
	Arrived []*int64 `json:"arrived_msg_s"`
}

// faultFiles encode a cell's faults.
func faultFiles(c CellResult) ([]file, error) {
	if len(c.Cell.Faults) == 0 {
		return nil, nil
	}
	text, err := json.MarshalIndent(storedFaults{c.Cell.Faults, c.Arrived}, "", " ")
	if err != nil {
		return nil, err
	}
	return []file{{faultsFile, append(text, '\n')}}, nil
}

// Arrivals reads what customers got in each second of a cell with faults; nil in
// it is a second that was not reported. It is empty for a cell without faults.
func (r *Reader) Arrivals(position int) ([]*int64, error) {
	var stored storedFaults
	err := readJSON(filepath.Join(r.CellDir(position), faultsFile), &stored)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return stored.Arrived, err
}

// faultColumns are those of cells.csv that tell of faults.
func faultColumns() []string { return []string{"fault_dropped", "recovery_s", "unrecovered"} }

// faultCells are a cell's values in them; empty without faults.
func faultCells(c measure.Cell) []string {
	if len(c.Faults) == 0 {
		return make([]string, len(faultColumns()))
	}
	dropped := ""
	if c.FaultDropped != nil {
		dropped = strconv.FormatInt(*c.FaultDropped, 10)
	}
	return []string{dropped, number(measure.LongestRecovery(c.Faults)), strconv.Itoa(measure.Unrecovered(c.Faults))}
}
