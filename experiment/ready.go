package experiment

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
)

// ready reads how a process shows that it is ready.
func (l *loader) ready(r *reader) Ready {
	var ready Ready
	ready.TCP, _ = r.text("tcp", 300)
	ready.Log, _ = r.text("log", 1000)
	ready.Command, _ = r.texts("command", 1000)
	l.readyHTTP(r, &ready)
	given := 0
	for _, name := range []string{"tcp", "http", "log", "command"} {
		if r.has(name) {
			given++
		}
	}
	if given > 1 {
		r.m.error(r.header, r.what+" gives more than one of tcp, http, log and command", "keep the one that comes last when the process starts")
	}
	if ready.TCP != "" && !lateText.MatchString(ready.TCP) {
		_, port, err := net.SplitHostPort(ready.TCP)
		if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 1 || n > 65535 {
			r.wrong("tcp", fmt.Sprintf("%q is not host:port", clip(ready.TCP)), `for example: tcp = "127.0.0.1:1883"`)
		}
	}
	if _, err := regexp.Compile(ready.Log); err != nil {
		r.wrong("log", "this is not a regular expression: "+err.Error(), `for example: log = "listening on .*1883"`)
	}
	r.finish()
	return ready
}

// readyHTTP reads the check by a request.
func (l *loader) readyHTTP(r *reader, ready *Ready) {
	ready.HTTP, _ = r.text("http", 2000)
	if ready.HTTP != "" {
		u, err := url.Parse(lateText.ReplaceAllString(ready.HTTP, "1"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			r.wrong("http", fmt.Sprintf("%q is no URL of http or https", clip(ready.HTTP)), `for example: http = "http://${self.address}:8080/health"`)
		}
		ready.Status = 200
	}
	if n, ok := r.whole("status", 100, 599); ok {
		ready.Status = int(n)
	}
	ready.Body, _ = r.text("body", 1000)
	if _, err := regexp.Compile(ready.Body); err != nil {
		r.wrong("body", "this is not a regular expression: "+err.Error(), `for example: body = "\"status\":\"ok\""`)
	}
	for _, name := range []string{"status", "body"} {
		if r.has(name) && !r.has("http") {
			r.wrong(name, "there is no request whose answer has one", "give http, or leave this out")
		}
	}
}
