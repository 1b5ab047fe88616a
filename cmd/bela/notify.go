package main

import (
	"context"
	"fmt"
	"time"

	"bela/campaign"
	"bela/experiment"
	"bela/notify"
)

// notifyGrace is how long the end of a run waits for its last messages.
const notifyGrace = 15 * time.Second

// notifier is the sink that tells of the run, where the experiment wants one,
// and how to close it: what did not arrive is said then.
func (a *app) notifier(n *experiment.Notify) ([]campaign.Sink, func(), error) {
	if n == nil {
		return nil, func() {}, nil
	}
	sink, err := notify.New(notify.Config{
		URL: n.URL.Reveal(), On: n.On, Format: n.Format, Token: n.Token.Reveal(), SigningKey: n.SigningKey.Reveal(), Version: version,
	})
	if err != nil {
		return nil, nil, &statusError{statusUsage, err}
	}
	return []campaign.Sink{sink}, func() {
		ctx, cancel := context.WithTimeout(context.Background(), notifyGrace)
		defer cancel()
		if err := sink.Close(ctx); err != nil {
			fmt.Fprintln(a.err, "bela:", printable(err.Error()))
		}
	}, nil
}
