package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// Middleware records the requests of impersonation sessions; every other request
// passes unchanged. It stands inside oversight.Service's middleware.
func (r *Recorder) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		session, ok := oversight.FromContext(req.Context())
		id, known := governance.IdentityFrom(req.Context())
		if !ok || !known {
			next.ServeHTTP(w, req)
			return
		}
		if err := r.Alive(req.Context()); err != nil { // before anything has an effect
			r.fail(req.Context(), session, err)
			paused(w)
			return
		}
		m := r.mask.fresh()
		f := Frame{At: r.k.Now(), Actor: id.Actor.ID, Method: short(req.Method, 20), Path: m.text(short(req.URL.Path, 2000)), Query: m.values(req.URL.Query())}
		if id.Subject != nil {
			f.Subject = id.Subject.ID
		}
		for _, h := range r.opts.Headers {
			if v := req.Header.Get(h); v != "" {
				if f.Headers == nil {
					f.Headers = map[string]string{}
				}
				f.Headers[h] = m.text(short(v, 300))
			}
		}
		if err := r.form(m, req, &f); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		c := &capture{w: w, status: http.StatusOK, header: http.Header{}, limit: r.opts.MaxBuffer}
		for k, v := range w.Header() { // what outer middleware has set so far
			c.header[k] = v
		}
		c.overflow = func() error { return r.keep(req, session, id, m, f, c, true) }
		crash := serve(next, c, req)
		if c.released {
			if crash != nil {
				panic(crash)
			}
			return
		}
		if c.failed == nil {
			c.failed = r.keep(req, session, id, m, f, c, false)
		}
		if c.failed != nil {
			r.fail(req.Context(), session, c.failed)
			paused(w)
			return
		}
		if crash != nil {
			panic(crash)
		}
		c.release()
	})
}

func paused(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, "The session is paused: what is shown cannot be recorded.", http.StatusServiceUnavailable)
}

// serve gives back what next panicked with: what it did until then is recorded
// before the panic goes on.
func serve(next http.Handler, c *capture, req *http.Request) (crash any) {
	defer func() {
		if crash = recover(); crash != nil {
			c.status = http.StatusInternalServerError
			c.body.Reset()
		}
	}()
	next.ServeHTTP(c, req)
	return nil
}

// keep completes a frame and stores it.
func (r *Recorder) keep(req *http.Request, session oversight.Session, id governance.Identity, m *masker, f Frame, c *capture, more bool) error {
	f.TookMillis = r.k.Now().Sub(f.At).Milliseconds()
	f.Status, f.Size, f.Truncated = c.status, int64(c.body.Len()), more
	f.Location = location(m, c.header.Get("Location"))
	f.ContentType = c.header.Get("Content-Type")
	if f.ContentType == "" && c.body.Len() > 0 {
		f.ContentType = http.DetectContentType(c.body.Bytes())
	}
	if c.body.Len() > 0 {
		f.SHA256 = digest(c.body.Bytes())
		if c.header.Get("Content-Encoding") == "" {
			f.Body, _ = m.body(f.ContentType, c.body.Bytes())
		}
	}
	if cut := r.opts.MaxBody; len(f.Body) > cut {
		for cut > 0 && !utf8.RuneStart(f.Body[cut]) {
			cut--
		}
		f.Body, f.Truncated = f.Body[:cut], true
	}
	m.recheck(&f)
	return r.add(req.Context(), session, id, f)
}

// location masks the query of a redirect's target.
func location(m *masker, s string) string {
	u, err := url.Parse(s)
	if s == "" || err != nil {
		return ""
	}
	if u.RawQuery != "" {
		u.RawQuery = url.Values(m.values(u.Query())).Encode()
	}
	return m.text(u.String())
}

// form reads the fields of a form and puts the body back for the handler.
func (r *Recorder) form(m *masker, req *http.Request, f *Frame) error {
	typ, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	isJSON := typ == "application/json" || strings.HasSuffix(typ, "+json")
	if typ != "application/x-www-form-urlencoded" && typ != "multipart/form-data" && !isJSON {
		f.Form = map[string][]string{"": {"a body of type " + m.text(typ)}}
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, int64(r.opts.MaxForm)+1))
	if err != nil {
		return fmt.Errorf("the request's body could not be read: %w", err)
	}
	if len(body) > r.opts.MaxForm {
		return errors.New("the request's body is larger than can be recorded")
	}
	_ = req.Body.Close()
	req.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case isJSON:
		text, ok := m.json(body)
		if !ok {
			text = "a body that is not JSON"
		}
		f.Form = map[string][]string{"": {short(text, maxFields)}}
	case typ == "multipart/form-data":
		f.Form = r.multipart(m, body, params["boundary"])
	default:
		v, err := url.ParseQuery(string(body))
		if err != nil {
			f.Form = map[string][]string{"": {"a body that is not a form"}}
			return nil
		}
		f.Form = m.values(v)
	}
	return nil
}

// capture holds a response back until it is recorded.
type capture struct {
	w        http.ResponseWriter
	header   http.Header
	status   int
	wrote    bool
	body     bytes.Buffer
	limit    int
	released bool
	failed   error
	overflow func() error
}

// Header implements http.ResponseWriter.
func (c *capture) Header() http.Header {
	if c.released {
		return c.w.Header()
	}
	return c.header
}

// WriteHeader implements http.ResponseWriter.
func (c *capture) WriteHeader(status int) {
	if c.wrote || status < 200 { // informational responses show the actor nothing
		return
	}
	c.wrote, c.status = true, status
}

// Write implements http.ResponseWriter. A response that outgrows the buffer is
// recorded as far as it came and streamed from there on.
func (c *capture) Write(b []byte) (int, error) {
	c.wrote = true
	if c.released {
		return c.w.Write(b)
	}
	if c.failed != nil {
		return 0, c.failed
	}
	if c.body.Len()+len(b) <= c.limit {
		return c.body.Write(b)
	}
	fits := c.limit - c.body.Len()
	c.body.Write(b[:fits])
	if c.failed = c.overflow(); c.failed != nil {
		return 0, c.failed
	}
	c.release()
	n, err := c.w.Write(b[fits:])
	return fits + n, err
}

func (c *capture) release() {
	c.released = true
	h := c.w.Header()
	for k := range h {
		if _, ok := c.header[k]; !ok {
			h.Del(k)
		}
	}
	for k, v := range c.header {
		h[k] = v
	}
	c.w.WriteHeader(c.status)
	_, _ = c.w.Write(c.body.Bytes()) // the client is gone: it was recorded all the same
}

// multipart reads the fields of a multipart form; of a file only its name and size.
func (r *Recorder) multipart(m *masker, body []byte, boundary string) map[string][]string {
	out := map[string][]string{}
	req := &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {mime.FormatMediaType("multipart/form-data", map[string]string{"boundary": boundary})}},
		Body: io.NopCloser(bytes.NewReader(body))}
	if err := req.ParseMultipartForm(int64(r.opts.MaxForm)); err != nil {
		return map[string][]string{"": {"a body that is not a form"}}
	}
	maps.Copy(out, m.values(req.MultipartForm.Value))
	for k, files := range req.MultipartForm.File {
		for _, file := range files {
			out[short(k, maxName)] = append(out[k], fmt.Sprintf("a file of %d bytes", file.Size))
		}
	}
	return out
}
