package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bela/agents/protocol"
)

// Command is the agent's first argument when it is to call Main.
const Command = "fault"

// Main is the agent's executable as a holder of a fault, or as what undoes those
// that were left; args are those after Command.
//
//	hold           does the fault that stdin says, until stdin ends
//	undo -dir DIR  undoes what the records in bela's directory say
func Main(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "hold":
		// Only its time, or the end of stdin, ends it: it has to heal first.
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
		return hold(in, out)
	case len(args) == 3 && args[0] == "undo" && args[1] == "-dir":
		return UndoAll(ctx, args[2])
	}
	return errors.New("this command is for the agent and for provisioning alone")
}

// order is the one line that a holder reads.
type order struct {
	Spec  protocol.FaultSpec `json:"spec"`
	Place place              `json:"place"`
}

// place is where a fault keeps its record, and how its rules are known.
type place struct {
	Dir string `json:"dir"` // of records
	ID  string `json:"id"`
	Run string `json:"run"`
}

func (p place) record() string { return filepath.Join(p.Dir, p.ID+".json") }

func (k *Keeper) place(id string) place { return place{recordDir(k.Dir), id, k.Run} }

// line is what a holder says: that the fault is in force, and that it is healed.
type line struct {
	Begun    bool   `json:"begun,omitempty"`
	Ended    bool   `json:"ended,omitempty"`
	Measured string `json:"measured,omitempty"`
	Error    string `json:"error,omitempty"`
}

// doer does one kind of fault.
type doer interface {
	// check says why it cannot be done here, without doing it.
	check(ctx context.Context) error
	// before measures what the fault will change, in words.
	before(ctx context.Context) string
	// remedy is what undoes apply, also where apply came only half way.
	remedy() remedy
	apply(ctx context.Context) error
	// during keeps the fault up and measures it until ctx ends.
	during(ctx context.Context) string
}

func doerOf(spec protocol.FaultSpec, at place) doer {
	switch {
	case spec.Network != nil && spec.Network.Cut:
		return newCut(*spec.Network, at)
	case spec.Network != nil:
		return newSlow(*spec.Network, at)
	case spec.Pressure != nil:
		return &pressure{spec: *spec.Pressure}
	}
	return &fill{leave: spec.Disk.Leave, path: filepath.Join(at.Dir, at.ID+".fill")}
}

// hold is the life of a holder.
func hold(in io.Reader, out io.Writer) error {
	say := json.NewEncoder(out)
	input := bufio.NewReader(in)
	text, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	if err := checkSpec(o.Spec); err != nil {
		return say.Encode(line{Error: err.Error()})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // the agent asks for the end, or is gone
		_, _ = io.Copy(io.Discard, input)
		stop()
	}()
	d := doerOf(o.Spec, o.Place)
	measured, err := begin(ctx, d, o.Place)
	if err != nil {
		return say.Encode(line{Error: err.Error()})
	}
	_ = say.Encode(line{Begun: true, Measured: measured}) // where nobody hears it, stdin ends too
	ctx, cancel := context.WithTimeout(ctx, o.Spec.For)
	defer cancel()
	meant := make(chan string, 1)
	go func() { meant <- d.during(ctx) }()
	<-ctx.Done()
	// Healed first: what was measured can wait.
	last := line{Ended: true}
	if err := undo(d.remedy(), o.Place.record()); err != nil {
		last.Error = err.Error()
	}
	select {
	case last.Measured = <-meant:
	case <-time.After(probeLimit):
	}
	return say.Encode(last)
}

// begin measures, writes the record and applies the fault. After an error
// nothing is left of it.
func begin(ctx context.Context, d doer, at place) (string, error) {
	if err := d.check(ctx); err != nil {
		return "", err
	}
	measured := d.before(ctx)
	if err := writeRecord(at.record(), d.remedy()); err != nil {
		return "", fmt.Errorf("write down how to undo it: %w", err)
	}
	err := d.apply(ctx)
	if err == nil {
		err = ctx.Err() // the agent went away meanwhile
	}
	if err != nil {
		return "", errors.Join(err, undo(d.remedy(), at.record()))
	}
	return measured, nil
}

// hold starts a holder and waits until its fault is in force.
func (k *Keeper) hold(ctx context.Context, spec protocol.FaultSpec) (*held, protocol.FaultBegun, error) {
	var none protocol.FaultBegun
	cmd := exec.Command(k.Self, Command, "hold")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + searchPath(), "BELA_DIR=" + k.Dir}
	// Its own session, so that no signal meant for the agent's group ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, none, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, none, err
	}
	complaint := &tail{}
	cmd.Stderr = complaint
	if err := cmd.Start(); err != nil {
		return nil, none, fmt.Errorf("start its holder: %w", err)
	}
	text, err := json.Marshal(order{spec, k.place(spec.ID)})
	if err == nil {
		_, err = in.Write(append(text, '\n'))
	}
	if err != nil {
		_ = in.Close()
		_ = cmd.Wait()
		return nil, none, fmt.Errorf("tell its holder: %w", err)
	}
	h := newHeld()
	h.end = func() { _ = in.Close() }
	began := make(chan line, 1)
	go k.listen(h, cmd, out, spec.ID, began, complaint)
	select {
	case l := <-began:
		if !l.Begun {
			<-h.done
			return nil, none, errors.New(l.Error)
		}
		return h, protocol.FaultBegun{At: k.Now(), Measured: l.Measured}, nil
	case <-ctx.Done():
		h.end()
		<-h.done
		return nil, none, fmt.Errorf("it was not in force in time: %w", context.Cause(ctx))
	}
}

// listen takes what a holder says until it has ended, and heals in its place
// where it ended too early.
func (k *Keeper) listen(h *held, cmd *exec.Cmd, out io.Reader, id string, began chan<- line, complaint *tail) {
	var ended *line
	var at int64
	begun := false
	for d := json.NewDecoder(out); ; {
		var l line
		if d.Decode(&l) != nil {
			break
		}
		switch {
		case l.Ended:
			ended, at = &l, k.Now()
		default:
			begun = l.Begun
			began <- l
		}
	}
	err := cmd.Wait()
	switch {
	case ended != nil && ended.Error == "":
		h.close(protocol.FaultEnded{At: at, Measured: ended.Measured}, nil)
		return
	case ended != nil:
		err = errors.New(ended.Error)
	case !begun:
		if text := complaint.String(); text != "" {
			err = fmt.Errorf("its holder ended: %s", text)
		}
	default:
		err = fmt.Errorf("its holder ended before its time (%s); healed in its place", cmd.ProcessState)
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if undone := undoRecord(ctx, k.place(id).record()); undone != nil {
		err = errors.Join(err, undone)
	}
	if !begun {
		select {
		case began <- line{Error: fmt.Sprint(err)}:
		default: // it said why itself
		}
	}
	h.close(protocol.FaultEnded{At: k.Now()}, err)
}

// searchPath is where programs are looked for: administrators' programs are not
// on every user's path.
func searchPath() string {
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if !strings.Contains(":"+path+":", ":"+dir+":") {
			path += ":" + dir
		}
	}
	return strings.TrimPrefix(path, ":")
}

// tail keeps the end of what a holder complains of.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	const most = 1 << 10
	t.b = append(t.b, b...)
	if over := len(t.b) - most; over > 0 {
		t.b = append([]byte(nil), t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
