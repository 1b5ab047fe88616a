package component

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"
)

const (
	// webTime bounds one request of a readiness check, and webBody what is read
	// of its answer, in bytes.
	webTime = 5 * time.Second
	webBody = 1 << 20
)

// awaitHTTP asks until the answer is the wanted one. Redirects are answers.
func (in *instance) awaitHTTP(ctx context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true, Proxy: nil}
	client := &http.Client{
		Transport: transport, Timeout: webTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	body := regexp.MustCompile(in.process().ReadyBody) // checked by checkSpec
	for {
		err := in.askHTTP(ctx, client, body)
		if err == nil {
			return nil
		}
		if sleep(ctx, pollTime) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (in *instance) askHTTP(ctx context.Context, client *http.Client, want *regexp.Regexp) error {
	p := in.process()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ReadyHTTP, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, webBody))
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode != p.ReadyStatus:
		return fmt.Errorf("its answer has status %d, and %d is wanted", answer.StatusCode, p.ReadyStatus)
	case err != nil:
		return err
	case !want.Match(body):
		return fmt.Errorf("its answer does not match %q: %.200q", p.ReadyBody, body)
	}
	return nil
}
