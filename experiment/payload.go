package experiment

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The codecs of payloads that need a word of their own.
const (
	codecRaw      = "raw"
	codecProtobuf = "protobuf"
)

// maxProtobufDepth is how deep a document may nest in Protobuf.
const maxProtobufDepth = 32

// payloadWord leaves {} alone, which is JSON by itself.
var payloadWord = regexp.MustCompile(`\{[A-Za-z_]+\}`)

// payload reads the payload block.
func (l *loader) payload(r *reader, d *devicesSpec) {
	smallest := int64(minPayload)
	if codec, ok := r.choice("codec", "json", "msgpack", "protobuf", codecRaw); ok && codec != defaultCodec {
		d.PayloadCodec = codec
		if codec == codecRaw {
			smallest = minRawPayload
		}
	}
	d.codecAt = r.at("codec")
	if n, ok := r.bytes("size", smallest, maxPayload); ok {
		d.PayloadSize = int(n)
	}
	template, ok := r.text("template", maxPayload)
	d.Sensors = l.sensors(r)
	r.finish()
	if d.PayloadCodec == codecRaw {
		for _, name := range []string{"template", "sensors"} {
			if r.has(name) {
				r.wrong(name, "a raw payload has no fields, and so no "+name, `leave it out, or choose codec = "json", "msgpack" or "protobuf"`)
			}
		}
		return
	}
	switch need := room(d.PayloadCodec, d.Sensors); {
	case len(d.Sensors) == 0:
	case ok:
		r.wrong("sensors", "a payload has a template or sensors, not both")
	case !r.has("size"):
		d.PayloadSize = 0
		if need > maxPayload {
			r.wrong("sensors", fmt.Sprintf("a message of these may have %s bytes", grouped(int64(need))), fmt.Sprintf("legal: %s", grouped(maxPayload)))
		}
	case need > d.PayloadSize:
		r.wrong("sensors", fmt.Sprintf("a message of these may have %s bytes, and size is %s", grouped(int64(need)), grouped(int64(d.PayloadSize))),
			"raise size, or leave it out: a message is then as long as its readings are")
	}
	if ok {
		d.PayloadTemplate = template
		l.checkTemplate(r, template, d)
	}
}

// checkTemplate makes sure that a template becomes a JSON object that fits the
// payload's size.
func (l *loader) checkTemplate(r *reader, template string, d *devicesSpec) {
	const example = `for example: template = "{\"sensor\": {device}, \"value\": {value}}"`
	legal := []string{"{customer}", "{device}", "{seq}", "{time}", "{value}"}
	for _, p := range payloadWord.FindAllString(template, -1) {
		if !slices.Contains(legal, p) {
			r.wrong("template", fmt.Sprintf("%s cannot be filled in", clip(p)), didYouMean(p, legal, bare), legalNames("legal here", legal))
			return
		}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payloadWord.ReplaceAllString(template, "0")), &fields); err != nil {
		r.wrong("template", "this is not a JSON object once its {placeholders} are filled in: "+err.Error(), example)
		return
	}
	for _, own := range []string{"bela", "pad"} {
		if _, ok := fields[own]; ok {
			r.wrong("template", fmt.Sprintf("the field %q is bela's own", own), "give yours another name")
		}
	}
	// The longest value is a time in milliseconds.
	longest := len(payloadWord.ReplaceAllString(template, strings.Repeat("9", 14)))
	if d.PayloadCodec != "" {
		var depth int
		longest, depth = packedRoom(d.PayloadCodec, payloadWord.ReplaceAllString(template, strings.Repeat("9", 14)))
		if d.PayloadCodec == codecProtobuf && depth > maxProtobufDepth {
			r.wrong("template", fmt.Sprintf("it nests %d deep", depth), fmt.Sprintf("legal in Protobuf: %d", maxProtobufDepth))
		}
	}
	longest += envelopeRoom(d.PayloadCodec)
	if longest > d.PayloadSize {
		r.wrong("template", fmt.Sprintf("with bela's own field a payload may have %s bytes, and size is %s",
			grouped(int64(longest)), grouped(int64(d.PayloadSize))), "raise size")
	}
}

// envelopeRoom is how many bytes of a payload are bela's own at most: the envelope's
// field, and an empty one for the padding where a codec knows no other.
func envelopeRoom(codec string) int {
	switch codec {
	case "msgpack":
		return 72
	case codecProtobuf:
		return 80
	}
	return 64
}

// packedRoom is an upper bound on what a JSON document takes in MessagePack or
// Protobuf, and how deep it nests.
func packedRoom(codec, doc string) (bytes, depth int) {
	// What stands before a string and before an object, and what is around a member.
	text, members, member := 5, 5, 0
	if codec == codecProtobuf {
		text, members, member = 4, 4, 4
	}
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	open := 0
	for {
		token, err := d.Token()
		if err != nil {
			return bytes, depth // the end: doc was JSON before
		}
		bytes += member
		switch v := token.(type) {
		case json.Delim:
			if v == '}' || v == ']' {
				open--
				bytes -= member
				continue
			}
			open++
			depth = max(depth, open)
			bytes += members
		case string:
			bytes += text + len(v)
			if strings.ContainsRune(v, utf8.RuneError) { // it may travel as written
				bytes += 5*len(v) + 2
			}
		case json.Number:
			bytes += max(11, len(v)+3)
		default:
			bytes += 2
		}
	}
}

// payloadFits reports a payload that the built-in components of the cell cannot
// take apart.
func (l *loader) payloadFits(d *devicesSpec, cell *Cell) {
	if d.PayloadCodec != codecRaw {
		return
	}
	for _, c := range cell.Components {
		if (c.Kind == KindGateway || c.Kind == KindHub) && c.Codec != codecRaw {
			l.m.error(d.codecAt, fmt.Sprintf("component %q takes messages apart to encode them in %s, and there is nothing in a raw payload", c.Name, c.Codec),
				`give gateway and hub codec = "raw", or the payload another codec`)
			return
		}
	}
}
