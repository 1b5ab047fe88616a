package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"bela/campaign"
	"bela/web"
)

// webFlags say whether a run shows itself as a page in a browser.
type webFlags struct{ address, tokenFile *string }

func (f *flags) web() *webFlags {
	return &webFlags{
		address:   f.String("web", "", "show the run as a page in a browser too, on `ADDRESS` as in 127.0.0.1:8080; it shows only, unless there is a token"),
		tokenFile: f.String("web-token-file", "", "who has the token in `FILE` may skip cells and stop the run on the page; the environment's BELA_WEB_TOKEN is another way to give it"),
	}
}

// servePage serves the run's page where one was asked for.
func (r *run) servePage(ctx context.Context, control *campaign.Control) (sinks []campaign.Sink, done func(), err error) {
	if *r.page.address == "" {
		if *r.page.tokenFile != "" {
			return nil, nil, usageError("-web-token-file is for the page that -web ADDRESS serves")
		}
		return nil, func() {}, nil
	}
	token, err := r.webToken()
	if err != nil {
		return nil, nil, err
	}
	s, err := web.Listen(ctx, *r.page.address, web.Options{Control: control, Token: token})
	if err != nil {
		return nil, nil, usageError("-web: %v", err)
	}
	may := "it shows only"
	if token != "" {
		may = "who has the token may skip cells and stop the run"
	}
	fmt.Fprintf(r.err, "bela: the run's page is at %s; %s\n", s.URL(), may)
	return []campaign.Sink{s}, func() {
		if err := s.Close(); err != nil {
			fmt.Fprintln(r.err, "bela: the run's page:", err)
		}
	}, nil
}

// webToken reads the token; empty where there is none.
func (r *run) webToken() (string, error) {
	if *r.page.tokenFile == "" {
		token, _ := r.env("BELA_WEB_TOKEN")
		return strings.TrimSpace(token), nil
	}
	f, err := os.Open(*r.page.tokenFile)
	if err != nil {
		return "", usageError("-web-token-file: %v", err)
	}
	defer func() { _ = f.Close() }()
	const most = 4096
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch token := strings.TrimSpace(string(text)); {
	case err != nil:
		return "", usageError("-web-token-file: %v", err)
	case len(text) > most:
		return "", usageError("-web-token-file: %s is longer than %d bytes: it is no token", *r.page.tokenFile, most)
	case token == "":
		return "", usageError("-web-token-file: %s is empty", *r.page.tokenFile)
	default:
		return token, nil
	}
}
