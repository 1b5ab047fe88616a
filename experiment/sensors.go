package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Bounds of a payload's sensors.
const (
	maxSensors     = 200
	maxSensorDepth = 8
	numberRoom     = 34 // bytes of the longest number, in any codec
	defaultPeriod  = 24 * 60 * 60
)

// sensorSettings are the settings of each kind of sensor, besides kind and unit.
func sensorSettings() map[string][]string {
	return map[string][]string{
		"gaussian": {"mean", "stddev", "spread", "decimals"},
		"sine":     {"mean", "amplitude", "period", "stddev", "spread", "decimals"},
		"walk":     {"min", "max", "step", "decimals"},
		"counter":  {"min", "step", "decimals"},
		"choice":   {"choices"},
		"bool":     {"probability"},
	}
}

// sensorReader reads the argument sensors: an object whose members are sensors,
// which have a kind, or groups of them.
type sensorReader struct {
	r    *reader
	list []Sensor
}

// sensors reads them in the order of their names.
func (l *loader) sensors(r *reader) []Sensor {
	v, ok := r.value("sensors")
	if !ok {
		return nil
	}
	s := &sensorReader{r: r}
	s.group(nil, v)
	return s.list
}

func (s *sensorReader) wrong(path []string, problem string, help ...string) {
	name := strings.Join(path, ".")
	if name != "" {
		name += ": "
	}
	s.r.wrong("sensors", name+problem, help...)
}

func (s *sensorReader) group(path []string, v cty.Value) {
	const example = `for example: sensors = { temperature = { kind = "gaussian", mean = 21, stddev = 0.5, unit = "C" } }`
	switch {
	case v.IsNull(), !v.Type().IsObjectType() && !v.Type().IsMapType():
		s.wrong(path, "an object is wanted, and this is "+typeName(v), example)
		return
	case v.LengthInt() == 0:
		s.wrong(path, "it is empty", example)
		return
	case len(path) >= maxSensorDepth:
		s.wrong(path, fmt.Sprintf("groups nest deeper than %d", maxSensorDepth))
		return
	}
	for it := v.ElementIterator(); it.Next(); {
		key, member := it.Element()
		at := append(slices.Clone(path), key.AsString())
		switch {
		case !identifier.MatchString(key.AsString()):
			s.wrong(at, "this cannot be a sensor's name", "legal: a letter, then letters, digits, _ and -")
		case len(path) == 0 && (key.AsString() == "bela" || key.AsString() == "pad"):
			s.wrong(at, "the field is bela's own", "give yours another name")
		case len(s.list) >= maxSensors:
			s.wrong(at, fmt.Sprintf("there are more than %d sensors", maxSensors))
			return
		case isSensor(member):
			s.sensor(at, member)
		default:
			s.group(at, member)
		}
	}
}

// isSensor tells a sensor, whose kind is a text, from a group.
func isSensor(v cty.Value) bool {
	return !v.IsNull() && v.Type().IsObjectType() && v.Type().HasAttribute("kind") && v.GetAttr("kind").Type() == cty.String
}

func (s *sensorReader) sensor(path []string, v cty.Value) {
	settings := sensorSettings()
	kinds := sortedKeys(settings)
	out := Sensor{Path: path, Decimals: 2, Period: defaultPeriod, Step: 1, Probability: 0.5}
	out.Kind, _ = asText(v.GetAttr("kind"))
	legal, ok := settings[out.Kind]
	if !ok {
		s.wrong(path, fmt.Sprintf("kind %q is not legal", clip(out.Kind)), didYouMean(out.Kind, kinds, quoted), legalNames("legal", quoteAll(kinds)))
		return
	}
	if out.Kind == "counter" {
		out.Decimals = 0
	}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		name := key.AsString()
		switch {
		case value.IsNull(), name == "kind":
		case name == "unit" && value.Type() == cty.String && len(value.AsString()) <= 32:
			out.Unit = value.AsString()
		case !slices.Contains(legal, name):
			s.wrong(append(path, name), "a sensor of kind "+out.Kind+" has no such setting", didYouMean(name, legal, bare), legalNames("legal", legal))
		case !out.set(name, value):
			s.wrong(append(path, name), "this is out of range, or of another type", "numbers: up to 1e9; decimals: 0 to 9; period: seconds; probability: 0 to 1; choices: texts of at most 256 bytes")
		}
	}
	switch {
	case out.Kind == "walk" && (out.Max <= out.Min || out.Step <= 0):
		s.wrong(path, "a walk needs max above min, and a step above 0")
	case out.Kind == "choice" && len(out.Choices) == 0:
		s.wrong(path, "a choice needs choices", `for example: choices = ["on", "off"]`)
	default:
		s.list = append(s.list, out)
	}
}

// set takes one setting. It is false for a value that it cannot have.
func (s *Sensor) set(name string, v cty.Value) bool {
	if name == "choices" {
		return s.setChoices(v)
	}
	if v.Type() != cty.Number {
		return false
	}
	n, _ := v.AsBigFloat().Float64()
	if n < -1e9 || n > 1e9 {
		return false
	}
	switch name {
	case "mean":
		s.Mean = n
	case "min":
		s.Min = n
	case "max":
		s.Max = n
	case "step":
		s.Step = n
	case "amplitude":
		s.Amplitude = n
		return n >= 0
	case "stddev":
		s.StdDev = n
		return n >= 0
	case "spread":
		s.Spread = n
		return n >= 0
	case "period":
		s.Period = n
		return n > 0
	case "decimals":
		s.Decimals = int(n)
		return n == float64(s.Decimals) && n >= 0 && n <= 9
	case "probability":
		s.Probability = n
		return n >= 0 && n <= 1
	}
	return true
}

func (s *Sensor) setChoices(v cty.Value) bool {
	if !v.CanIterateElements() || v.Type().IsObjectType() || v.Type().IsMapType() || v.LengthInt() > 1000 {
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() || e.Type() != cty.String || len(e.AsString()) > 256 {
			return false
		}
		s.Choices = append(s.Choices, e.AsString())
	}
	return true
}

// room is an upper bound on the bytes of a payload of these sensors.
func room(codec string, sensors []Sensor) int {
	n := envelopeRoom(codec)
	around := len(`"":{},`)
	if codec == codecProtobuf {
		around = 11 // three tags and lengths
	}
	for _, s := range sensors {
		for _, name := range s.Path {
			n += len(name) + around
		}
		if s.Unit != "" {
			n += len(`{"value":,"unit":""}`) + 6*len(s.Unit)
		}
		most := numberRoom
		for _, c := range s.Choices {
			most = max(most, 6*len(c)+2)
		}
		n += most
	}
	return n
}
