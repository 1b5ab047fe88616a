package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"bela/agents/document"
)

// MaxSize is the largest payload that is built: what fits an MQTT packet.
const MaxSize = 256<<20 - 1024

// Options are what the payloads of a cell have in common.
type Options struct {
	Seed int64
	// Codec is the payloads' form: json, msgpack, protobuf or raw; empty is json.
	Codec string
	// Size is the exact length of every payload in bytes, at least the codec's
	// smallest.
	Size int
	// Template, where given, is a JSON object with {device}, {customer}, {seq},
	// {value} and {time} in it, to which the envelope's field and the padding are
	// added. Empty is the built-in reading of several sensors.
	Template string
	// Sensors, where given, are what each device reads instead. Size may then be 0:
	// a payload is as long as its readings are.
	Sensors []Sensor
	// Customers is how many there are; device d belongs to customer d mod it.
	Customers int
}

// Builder makes payloads. A payload follows from the options and its envelope
// alone, so a message that was skipped changes no other. It is safe for
// concurrent use.
type Builder struct {
	seed      uint64
	size      int
	customers uint32
	sensors   int    // of the built-in reading
	named     bool   // the built-in reading has room for the device's name
	parts     []part // of the template; nil for the built-in reading

	model       []modelPart // of the sensors given; nil for none
	sensorModel []Sensor
	pad         []byte

	raw     bool
	packed  *packing // for MessagePack and Protobuf; nil else
	scratch sync.Pool
}

const (
	padOpen  = `,"pad":"`
	padClose = `"`
	padMin   = len(padOpen) + len(padClose)
)

// NewBuilder checks the options; the error names the size that is needed where
// it is too small.
func NewBuilder(o Options) (*Builder, error) {
	b := &Builder{seed: uint64(o.Seed), size: o.Size, customers: uint32(max(o.Customers, 1))}
	smallest, err := b.use(o.Codec)
	if err != nil {
		return nil, err
	}
	natural := o.Size == 0 && len(o.Sensors) > 0
	switch {
	case b.raw && (len(o.Sensors) > 0 || o.Template != ""):
		return nil, errors.New("payload: a raw one has neither template nor sensors")
	case !natural && (o.Size < smallest || o.Size > MaxSize):
		return nil, fmt.Errorf("payload size %d bytes: want %d to %d", o.Size, smallest, MaxSize)
	case len(o.Sensors) > 0 && o.Template != "":
		return nil, errors.New("payload: a template or sensors, not both")
	case len(o.Sensors) > 0:
		if err := b.useModel(o.Sensors); err != nil {
			return nil, fmt.Errorf("payload sensors: %w", err)
		}
	case o.Template != "":
		if err := b.useTemplate(o.Template); err != nil {
			return nil, fmt.Errorf("payload template: %w", err)
		}
	case b.packed != nil:
		b.fitPacked()
	case !b.raw:
		b.fit()
	}
	b.pad = padding(b.seed, o.Size)
	return b, nil
}

// use takes the codec, and tells how small a payload may be in it.
func (b *Builder) use(codec string) (smallest int, err error) {
	switch codec {
	case "", document.JSON:
		return MinSize, nil
	case document.Raw:
		b.raw = true
		return minRaw, nil
	}
	if b.packed, err = newPacking(codec); err != nil {
		return 0, fmt.Errorf("payload: %w", err)
	}
	b.scratch.New = func() any { return new(scratch) }
	return b.packed.smallest, nil
}

// Append appends the payload of e to dst. It allocates nothing where dst has
// room for the size that the builder was made for.
func (b *Builder) Append(dst []byte, e Envelope) []byte {
	switch {
	case b.raw:
		return b.appendRaw(dst, e)
	case b.packed != nil:
		return b.appendPacked(dst, e)
	}
	start := len(dst)
	dst = b.appendFields(dst, e)
	if b.size == 0 {
		return append(dst, '}')
	}
	rest := b.size - (len(dst) - start) - len(`}`)
	if rest >= padMin {
		dst = append(dst, padOpen...)
		dst = append(dst, b.pad[:rest-padMin]...)
		dst = append(dst, padClose...)
	} else {
		// Too little for a field: JSON allows space before the brace.
		for range rest {
			dst = append(dst, ' ')
		}
	}
	return append(dst, '}')
}

// appendFields appends the payload as JSON, without padding and closing brace.
func (b *Builder) appendFields(dst []byte, e Envelope) []byte {
	dst = append(dst, prefix...)
	dst = appendEnvelope(dst, e)
	dst = append(dst, '"')
	switch {
	case b.model != nil:
		return b.appendModel(dst, e)
	case b.parts != nil:
		return b.appendTemplate(dst, e)
	}
	return b.appendReadingOf(dst, e, nil)
}

// appendRaw appends a raw payload: the key, the envelope in binary, and padding.
func (b *Builder) appendRaw(dst []byte, e Envelope) []byte {
	var raw [rawSize]byte
	e.put(&raw)
	dst = append(append(dst, key...), raw[:]...)
	return append(dst, b.pad[:b.size-minRaw]...)
}

// fit finds how much of the built-in reading the size has room for at its
// longest.
func (b *Builder) fit() {
	room := b.size - MinSize
	if need := len(`,"device":"device-4294967295"`); room >= need {
		b.named = true
		room -= need
	}
	room -= len(`,"sensors":[]`)
	for b.sensors < len(sensors) {
		room -= sensors[b.sensors].longest() + len(`,`)
		if room < 0 {
			return
		}
		b.sensors++
	}
}

// appendReadingOf appends the fields of the built-in reading, each after a comma.
// values gives others than the device reads; nil does not.
func (b *Builder) appendReadingOf(dst []byte, e Envelope, values func(sensor int) int64) []byte {
	if b.named {
		dst = append(dst, `,"device":"device-`...)
		dst = strconv.AppendUint(dst, uint64(e.Device), 10)
		dst = append(dst, '"')
	}
	if b.sensors == 0 {
		return dst
	}
	dst = append(dst, `,"sensors":[`...)
	for i := range sensors[:b.sensors] {
		if i > 0 {
			dst = append(dst, ',')
		}
		v := int64(0)
		if values == nil {
			v = b.value(i, e)
		} else {
			v = values(i)
		}
		dst = sensors[i].appendReading(dst, v)
	}
	return append(dst, ']')
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// padding is n seeded letters and digits: not constant, which compression on the
// way would make disappear.
func padding(seed uint64, n int) []byte {
	random := rand.NewPCG(seed, 0x706164)
	pad := make([]byte, n)
	var bits uint64
	for i := range pad {
		if i%10 == 0 {
			bits = random.Uint64()
		}
		pad[i] = letters[bits&63]
		bits >>= 6
	}
	return pad
}

// quoted is text as a JSON string.
func quoted(text string) string {
	q, err := json.Marshal(text)
	if err != nil { // a string always encodes
		return `""`
	}
	return string(q)
}
