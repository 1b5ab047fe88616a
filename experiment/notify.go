package experiment

import (
	"fmt"
	"net/url"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Notify is the `notify` block: whom to tell without anybody watching.
type Notify struct {
	// URL takes the messages with HTTP POST. It is a secret as a whole: many
	// services put the right to write into it.
	URL Secret `json:"-"`
	// Host is the URL's host, which may be shown.
	Host string `json:"host"`
	// On are the occasions, in the order of NotifyOccasions.
	On []string `json:"on"`
	// Format is json (bela's own, documented payload) or text (an object with
	// nothing but `text`, which chat services take).
	Format string `json:"format"`
	// Token goes into the Authorization header, as a bearer; empty is none.
	Token Secret `json:"-"`
	// SigningKey signs the body; empty is no signature.
	SigningKey Secret `json:"-"`
}

// The occasions of Notify.On.
const (
	NotifyRunFinished = "run_finished"
	NotifyCellInvalid = "cell_invalid"
)

// NotifyOccasions lists what can be told of.
func NotifyOccasions() []string { return []string{NotifyCellInvalid, NotifyRunFinished} }

// The formats of Notify.Format.
const (
	NotifyJSON = "json"
	NotifyText = "text"
)

// notifyBlock reads whom to tell. An empty url turns it off, as in influxdb.
func (l *loader) notifyBlock(b *hclsyntax.Block) {
	if b == nil {
		return
	}
	r := l.m.reader(b, l.static)
	r.require("url", `url = env("BELA_WEBHOOK")`)
	n := &Notify{On: l.occasions(r), Format: NotifyJSON, URL: l.secret(r, "url", `url = env("BELA_WEBHOOK")`),
		Token:      l.secret(r, "token", `token = env("BELA_WEBHOOK_TOKEN")`),
		SigningKey: l.secret(r, "signing_key", `signing_key = env("BELA_WEBHOOK_KEY")`)}
	if format, ok := r.choice("format", NotifyJSON, NotifyText); ok {
		n.Format = format
	}
	r.finish()
	if n.URL == "" {
		return
	}
	u, err := url.Parse(n.URL.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		r.wrong("url", "this is not an address that takes messages over HTTP", `for example: "https://hooks.example/bela"`)
		return
	}
	n.Host = u.Host
	l.plan.Notify = n
}

// occasions reads `on`; all of them unless given.
func (l *loader) occasions(r *reader) []string {
	given, ok := r.texts("on", len(NotifyOccasions()))
	if !ok {
		return NotifyOccasions()
	}
	wanted := map[string]bool{}
	for _, name := range given {
		wanted[name] = true
	}
	var on []string
	for _, name := range NotifyOccasions() {
		if wanted[name] {
			on = append(on, name)
		}
		delete(wanted, name)
	}
	for _, name := range sortedKeys(wanted) {
		r.wrong("on", fmt.Sprintf("there is no occasion %q", clip(name)),
			didYouMean(name, NotifyOccasions(), quoted), legalNames("legal", NotifyOccasions()))
	}
	if len(given) == 0 {
		r.wrong("on", "an empty list tells of nothing", "leave the block out, or name an occasion", legalNames("legal", NotifyOccasions()))
	}
	return on
}
