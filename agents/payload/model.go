package payload

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// reach is how many standard deviations a value may lie from its mean.
const reach = 4

// maxDecimals bounds the places behind the point.
const maxDecimals = 9

// modelPart is a stretch of a device's reading: text, and then a sensor's value.
type modelPart struct {
	text   string
	sensor int // -1 for none
}

// useModel lays the sensors out as fields, nested as their paths say.
func (b *Builder) useModel(sensors []Sensor) error {
	b.sensorModel = slices.Clone(sensors)
	for i, s := range sensors {
		b.sensorModel[i].Choices = nil
		for _, c := range s.Choices {
			b.sensorModel[i].Choices = append(b.sensorModel[i].Choices, quoted(c))
		}
	}
	var open []string // the groups that stand open
	text := ""
	comma := ","
	for i, s := range sensors {
		if err := checkSensor(s, sensors[:i]); err != nil {
			return err
		}
		group := s.Path[:len(s.Path)-1]
		same := 0
		for same < len(open) && same < len(group) && open[same] == group[same] {
			same++
		}
		for range len(open) - same {
			text += "}"
			comma = ","
		}
		for _, name := range group[same:] {
			text += comma + quoted(name) + ":{"
			comma = ""
		}
		open = slices.Clone(group)
		text += comma + quoted(s.Path[len(s.Path)-1]) + ":"
		comma = ","
		if s.Unit == "" {
			b.model = append(b.model, modelPart{text, i})
			text = ""
			continue
		}
		b.model = append(b.model, modelPart{text + `{"value":`, i})
		text = `,"unit":` + quoted(s.Unit) + "}"
	}
	for range open {
		text += "}"
	}
	b.model = append(b.model, modelPart{text, -1})
	need := b.longestModel()
	if b.packed != nil {
		var err error
		if need, err = b.packed.need(b.longestFields()); err != nil {
			return err
		}
	}
	if b.size > 0 && need > b.size {
		return fmt.Errorf("they need up to %d bytes with the envelope, the payload's size is %d", need, b.size)
	}
	return nil
}

// checkSensor refuses what has no values, and what no object could hold.
func checkSensor(s Sensor, before []Sensor) error {
	if len(s.Path) == 0 {
		return errors.New("a sensor without a name")
	}
	if s.Path[0] == key || s.Path[0] == "pad" {
		return fmt.Errorf("the field %q is bela's own; name yours otherwise", s.Path[0])
	}
	for _, o := range before {
		n := min(len(o.Path), len(s.Path))
		if slices.Equal(o.Path[:n], s.Path[:n]) {
			return fmt.Errorf("sensor %q stands there twice", s.Path)
		}
	}
	for _, v := range []float64{s.Mean, s.StdDev, s.Spread, s.Amplitude, s.Min, s.Max, s.Step} {
		if math.IsNaN(v) || math.Abs(v) > 1e9 {
			return fmt.Errorf("sensor %q: %v is out of range", s.Path, v)
		}
	}
	ok := s.Decimals >= 0 && s.Decimals <= maxDecimals
	switch s.Kind {
	case "gaussian", "counter", "bool":
	case "walk":
		ok = ok && s.Max > s.Min && s.Step > 0
	case "sine":
		ok = ok && s.Period > 0
	case "choice":
		ok = ok && len(s.Choices) > 0
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("sensor %q: kind %q lacks what it needs", s.Path, s.Kind)
	}
	return nil
}

// longestModel is an upper bound on the length of a payload without padding.
func (b *Builder) longestModel() int {
	n := MinSize
	for _, p := range b.model {
		n += len(p.text)
		if p.sensor >= 0 {
			n += b.longestValue(p.sensor)
		}
	}
	return n
}

// longestValue is an upper bound on the length of what a sensor reads.
func (b *Builder) longestValue(sensor int) int {
	switch s := b.sensorModel[sensor]; s.Kind {
	case "bool":
		return len("false")
	case "choice":
		most := 0
		for _, c := range s.Choices {
			most = max(most, len(c))
		}
		return most
	case "counter":
		return len("-") + 19 + len(".") + s.Decimals
	default:
		most := math.Abs(s.Mean) + s.Spread + s.Amplitude + float64(reach*s.StdDev) + math.Abs(s.Min) + math.Abs(s.Max)
		return len(strconv.FormatFloat(-most, 'f', s.Decimals, 64))
	}
}

// longestFields are fields that take at least as much as any reading in every
// codec: a number that each of them has to write out.
func (b *Builder) longestFields() []byte {
	const tooLarge = len("18446744073709551616") // for 64 bits
	var dst []byte
	for _, p := range b.model {
		dst = append(dst, p.text...)
		if p.sensor < 0 {
			continue
		}
		for range max(tooLarge, b.longestValue(p.sensor)) {
			dst = append(dst, '9')
		}
	}
	return dst
}

// appendModel appends the fields of a reading, each after a comma.
func (b *Builder) appendModel(dst []byte, e Envelope) []byte {
	for _, p := range b.model {
		dst = append(dst, p.text...)
		if p.sensor >= 0 {
			dst = b.appendValue(dst, p.sensor, e)
		}
	}
	return dst
}

// appendValue appends what sensor i of the envelope's device reads. Here and below,
// explicit conversions keep the compiler from fusing a multiplication and an
// addition into one rounding, as it does where the CPU can: the last decimal
// would differ between a node of one architecture and one of another.
func (b *Builder) appendValue(dst []byte, i int, e Envelope) []byte {
	s := &b.sensorModel[i]
	own := mix(b.seed^uint64(i+1)<<48, uint64(e.Device)) // the sensor's, of this device
	at := mix(own, uint64(e.Sequence))                   // of this message too
	var v float64
	switch s.Kind {
	case "gaussian":
		v = s.Mean + float64(s.Spread*(2*unit(own)-1)) + float64(s.StdDev*normal(at))
	case "sine":
		phase := math.Mod(float64(e.Intended)/1e9, s.Period) / s.Period
		v = s.Mean + float64(s.Spread*(2*unit(own)-1)) + float64(s.Amplitude*math.Sin(2*math.Pi*phase)) + float64(s.StdDev*normal(at))
	case "walk":
		v = walk(own, uint64(e.Sequence), s.Min, s.Max, s.Step)
	case "counter":
		v = s.Min + float64(s.Step*float64(e.Sequence))
	case "choice":
		return append(dst, s.Choices[at%uint64(len(s.Choices))]...)
	case "bool":
		return strconv.AppendBool(dst, unit(at) < s.Probability)
	}
	return strconv.AppendFloat(dst, v, 'f', s.Decimals, 64)
}

// walk wanders between low and high, on a slow and a quick way that are added. Each
// goes straight from one seeded turning point to the next, so slowly that a
// value lies no further than step from the one before.
func walk(own, sequence uint64, low, high, step float64) float64 {
	slow, quick := 0.75*(high-low), 0.25*(high-low)
	return low + leg(mix(own, 1), sequence, slow, step/2) + leg(mix(own, 2), sequence, quick, step/2)
}

// leg is where one of the ways is, from 0 to span.
func leg(own, sequence uint64, span, step float64) float64 {
	readings := uint64(math.Ceil(min(span/step, 1<<40)))
	readings = max(readings, 1)
	turn, part := sequence/readings, float64(sequence%readings)/float64(readings)
	from, to := unit(mix(own, turn)), unit(mix(own, turn+1))
	return float64(span * (from + float64((to-from)*part)))
}

// unit maps random bits to [0, 1).
func unit(bits uint64) float64 { return float64(float64(bits>>11) / (1 << 53)) }

// normal maps random bits to the standard normal distribution, within reach
// (Box and Muller).
func normal(bits uint64) float64 {
	radius := math.Sqrt(-2 * math.Log(1-unit(bits)))
	return max(-reach, min(reach, radius*math.Cos(2*math.Pi*unit(mix(bits, 1)))))
}
