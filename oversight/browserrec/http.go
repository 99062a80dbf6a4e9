package browserrec

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/reevehq/reeve/governance"
)

//go:embed client.js
var clientScript []byte

// Handler serves the scripts and takes the reports, at Options.Base. It stands beside
// oversight.Service's middleware, not inside it: a report is no use of the product,
// does not keep a session from being idle, and a session that is paused for want of it
// can give it. Whoever calls is authenticated by the host before.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.opts.Base+"client.js", script(clientScript))
	mux.HandleFunc("GET "+s.opts.Base+"record.js", script(s.kit.script))
	mux.HandleFunc("POST "+s.opts.Base+"chunks", s.report)
	return mux
}

func script(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(b)
	}
}

func (s *Service) report(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	have, id, err := s.over.SessionOf(r)
	if errors.Is(err, governance.ErrNotFound) {
		http.Error(w, "There is no session.", http.StatusUnauthorized)
		return
	}
	if typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && typ != "application/json" {
		http.Error(w, "A report is application/json.", http.StatusUnsupportedMediaType)
		return
	}
	if err == nil {
		var raw []byte
		raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxUpload))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			http.Error(w, "The report is too large.", http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			return // the client is gone
		}
		err = s.Take(context.WithoutCancel(r.Context()), have, id, raw) // who leaves a page does not wait
	}
	var denied *governance.DeniedError
	var invalid *governance.InvalidError
	status := http.StatusServiceUnavailable
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case errors.As(err, &denied):
		status = http.StatusForbidden
	case errors.As(err, &invalid):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, governance.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, governance.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, ErrRate):
		status = http.StatusTooManyRequests
	default:
		s.k.Logger().ErrorContext(r.Context(), "a browser's report was not stored", "session", have.ID, "error", err)
	}
	http.Error(w, http.StatusText(status), status)
}
