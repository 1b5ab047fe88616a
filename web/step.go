package web

import (
	"encoding/json"
	"net"
	"net/http"
	"time"
)

const (
	maxBody   = 1 << 10
	bodyLimit = 5 * time.Second
)

// step is what somebody with the token does to the run.
func (s *Server) step(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.PathValue("action") {
	case "check": // the token is right
	case "stop":
		err = s.opts.Control.StopRun()
	case "skip":
		var asked struct {
			Position int `json:"position"`
		}
		// A deadline that cannot be set costs nothing: the body is short.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLimit))
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&asked); err != nil {
			http.Error(w, `say which cell: {"position": 3}`, http.StatusBadRequest)
			return
		}
		from, _, splitErr := net.SplitHostPort(r.RemoteAddr)
		if splitErr != nil {
			from = r.RemoteAddr
		}
		err = s.opts.Control.SkipCell(asked.Position, "the operator, on the web page from "+from)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
