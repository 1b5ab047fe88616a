package experiment

import (
	"net/url"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// influxBlock reads where metrics go. An empty url, as env gives for a
// variable that is not set, turns it off.
func (l *loader) influxBlock(b *hclsyntax.Block) {
	if b == nil {
		return
	}
	r := l.m.reader(b, l.static)
	r.require("url", `url = env("INFLUX_URL")`)
	address, ok := r.text("url", 2048)
	org, _ := r.text("org", 256)
	bucket, _ := r.text("bucket", 256)
	token := l.secret(r, "token", `token = env("INFLUX_TOKEN")`)
	r.finish()
	if !ok || address == "" {
		return
	}
	if strings.Contains(address, "@") {
		l.m.secretLiterals(r.body.Attributes["url"].Expr) // what stands before it may be a password
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		r.wrong("url", "this is not an address of InfluxDB", `for example: "http://influx.example:8086"`)
		return
	}
	if u.User != nil {
		r.wrong("url", "a user or password in the address would be shown", `put user:password into token, and leave it out here`)
		return
	}
	if bucket == "" {
		r.m.error(r.at("bucket"), r.what+" needs the argument bucket", `for example: bucket = "bela"`)
	}
	l.plan.InfluxDB = &InfluxDB{URL: address, Org: org, Bucket: bucket, Token: token}
}

// secret reads an argument of which neither the value nor the source is shown;
// empty where it is not given.
func (l *loader) secret(r *reader, name, example string) Secret {
	if attr, ok := r.body.Attributes[name]; ok {
		l.m.secretLiterals(attr.Expr)
	}
	v, _, ok := r.raw(name)
	if !ok {
		return ""
	}
	v, _ = v.Unmark()
	s, ok := asText(v)
	if !ok || len(s) > 4096 {
		r.wrong(name, "a text of at most 4,096 bytes is wanted", "for example: "+example)
		return ""
	}
	return Secret(s)
}
