package payload

import "strconv"

// sensor is one quantity that a device reads. Values are whole hundredths of
// the unit, so that no float formats differently anywhere.
type sensor struct {
	name, unit string
	base       int64 // of all devices, in hundredths
	spread     int64 // how far a device's own level may lie from base
	swing      int64 // how far a value wanders around that level
	noise      int64 // from one reading to the next
}

// The built-in sensors, by how common they are. Read only.
var sensors = [...]sensor{
	{"temperature", "C", 2100, 600, 400, 15},
	{"humidity", "%", 4800, 1500, 900, 40},
	{"pressure", "hPa", 101325, 1800, 600, 12},
	{"battery", "V", 365, 30, 5, 2},
	{"signal", "dBm", -7200, 1800, 500, 300},
	{"co2", "ppm", 62000, 18000, 12000, 900},
	{"light", "lx", 42000, 20000, 15000, 1200},
	{"vibration", "mm/s", 280, 120, 80, 45},
}

// longest is the length of the longest reading.
func (s sensor) longest() int {
	reach := s.spread + s.swing + s.noise
	low := s.appendReading(nil, s.base-reach)
	high := s.appendReading(nil, s.base+reach)
	return max(len(low), len(high))
}

// appendReading appends {"name":"temperature","value":21.07,"unit":"C"}.
func (s sensor) appendReading(dst []byte, hundredths int64) []byte {
	dst = append(dst, `{"name":"`...)
	dst = append(dst, s.name...)
	dst = append(dst, `","value":`...)
	dst = appendHundredths(dst, hundredths)
	dst = append(dst, `,"unit":"`...)
	dst = append(dst, s.unit...)
	return append(dst, `"}`...)
}

// appendHundredths appends n/100 with two decimals.
func appendHundredths(dst []byte, n int64) []byte {
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	dst = strconv.AppendInt(dst, n/100, 10)
	return append(dst, '.', byte('0'+n/10%10), byte('0'+n%10))
}

// wander is how many readings a value takes from one turning point to the next.
const wander = 64

// value is what sensor i of the envelope's device reads at its sequence number,
// in hundredths: the device's own level, a slow wander between seeded turning
// points, and noise.
func (b *Builder) value(i int, e Envelope) int64 {
	s := &sensors[i]
	device := mix(b.seed^uint64(i)<<56, uint64(e.Device))
	turn, step := uint64(e.Sequence)/wander, int64(e.Sequence%wander)
	from := within(mix(device, 2*turn), s.swing)
	to := within(mix(device, 2*(turn+1)), s.swing)
	noise := within(mix(device, 2*uint64(e.Sequence)+1), s.noise)
	return s.base + within(device, s.spread) + from + (to-from)*step/wander + noise
}

// within maps random bits to [-reach, reach].
func within(bits uint64, reach int64) int64 {
	return int64(bits>>32*uint64(2*reach+1)>>32) - reach
}

// mix hashes two numbers into one (the finalizer of SplitMix64).
func mix(a, b uint64) uint64 {
	x := a + 0x9e3779b97f4a7c15*(b+1)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
