package govapi

import (
	"encoding/json"
	"net/http"
)

// Unknown serves a mux whose operations are ours alone, and answers an address or a
// method that it does not have with a problem document as well.
func Unknown(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(&unknownWriter{ResponseWriter: w}, r)
	})
}

// unknownWriter writes a problem in the place of the mux's own 404 and 405.
type unknownWriter struct {
	http.ResponseWriter
	replaced bool
}

// WriteHeader implements http.ResponseWriter.
func (u *unknownWriter) WriteHeader(status int) {
	texts := map[int][2]string{http.StatusNotFound: {"not-found", "There is no operation at this address."}, http.StatusMethodNotAllowed: {"method", "The operation has another method; see Allow."}}
	t, ours := texts[status]
	if !ours {
		u.ResponseWriter.WriteHeader(status)
		return
	}
	u.replaced = true
	u.Header().Set("Content-Type", "application/problem+json")
	u.Header().Del("Content-Length")
	u.ResponseWriter.WriteHeader(status)
	_ = json.NewEncoder(u.ResponseWriter).Encode(problem(t[0], status, t[1])) // the client is gone when this fails
}

// Write implements http.ResponseWriter.
func (u *unknownWriter) Write(b []byte) (int, error) {
	if u.replaced {
		return len(b), nil
	}
	return u.ResponseWriter.Write(b)
}
