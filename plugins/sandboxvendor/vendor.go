// Package sandboxvendor is a small vendor to try connectors on: an HTTP API with a
// token, objects in collections, a unique external id, revisions,
// its own paging, and rate limits and failures when asked. It is no imitation of any
// real product; it has the habits that they share.
//
// Start with [Open] and serve the [Vendor] as an http.Handler. State is kept in one
// append-only file, so a restart keeps it, as does the death of the process.
//
//	GET    /{collection}?external_id=X           {"data":[object]}
//	GET    /{collection}?starting_after=ID&limit=N  {"data":[…],"has_more":true}
//	POST   /{collection}                          201, or 409 when the external id is taken
//	GET    /{collection}/{id}
//	PATCH  /{collection}/{id}   If-Match: REV     200, or 412 when the revision moved
//
// An object is {"id","external_id","revision","created_at","updated_at","properties"}.
package sandboxvendor

import (
	"bufio"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Object is one object of the vendor.
type Object struct {
	ID         string         `json:"id"`
	ExternalID string         `json:"external_id"`
	Revision   int64          `json:"revision"`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
	Properties map[string]any `json:"properties"`
}

// Page is a list answer.
type Page struct {
	Data    []Object `json:"data"`
	HasMore bool     `json:"has_more"`
}

// Fault makes the next requests go wrong.
type Fault struct {
	Status     int           // answered instead of doing anything; 0: none
	RetryAfter time.Duration // sent along
	Times      int           // how many requests; 0: until the next SetFault
	Delay      time.Duration // before each request, whatever its status
	After      bool          // do the request, then answer Status: the answer is lost, the effect is not
}

// Options tunes a Vendor.
type Options struct {
	Token string           // required: sent as "Authorization: Bearer TOKEN"
	Now   func() time.Time // default time.Now
}

// Vendor is the service.
type Vendor struct {
	opts Options
	mux  *http.ServeMux

	mu       sync.Mutex
	file     *os.File
	next     int64
	data     map[string]*collection
	fault    Fault
	requests int
}

type collection struct {
	byID       map[string]*Object
	byExternal map[string]string
	order      []string // ids, oldest first; ids sort the same way
}

// line is one line of the file: an object as it is from then on.
type line struct {
	Collection string `json:"c"`
	Object     Object `json:"o"`
}

// Open reads the state in path, or begins there.
func Open(path string, opts Options) (*Vendor, error) {
	if opts.Token == "" {
		return nil, errors.New("sandbox vendor: Token is required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	v := &Vendor{opts: opts, mux: http.NewServeMux(), data: map[string]*collection{}}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox vendor: %w", err)
	}
	if err := v.replay(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("sandbox vendor: %s: %w", path, err)
	}
	v.file = f
	v.mux.HandleFunc("GET /{collection}", v.list)
	v.mux.HandleFunc("POST /{collection}", v.create)
	v.mux.HandleFunc("GET /{collection}/{id}", v.get)
	v.mux.HandleFunc("PATCH /{collection}/{id}", v.patch)
	return v, nil
}

// replay takes every whole line; half a line at the end is a write that was cut off
// before anybody was told of it, and the next one overwrites it.
func (v *Vendor) replay(f *os.File) error {
	r, end := bufio.NewReader(f), int64(0)
	for {
		b, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if err := f.Truncate(end); err != nil {
				return err
			}
			_, err := f.Seek(end, io.SeekStart)
			return err
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		v.keep(l)
		end += int64(len(b))
	}
}

func (v *Vendor) keep(l line) {
	c := v.collection(l.Collection)
	if _, ok := c.byID[l.Object.ID]; !ok {
		c.order = append(c.order, l.Object.ID)
		c.byExternal[l.Object.ExternalID] = l.Object.ID
		v.next++
	}
	o := l.Object
	c.byID[o.ID] = &o
}

func (v *Vendor) collection(name string) *collection {
	c, ok := v.data[name]
	if !ok {
		c = &collection{byID: map[string]*Object{}, byExternal: map[string]string{}}
		v.data[name] = c
	}
	return c
}

func (v *Vendor) save(name string, o Object) error {
	b, err := json.Marshal(line{Collection: name, Object: o})
	if err != nil {
		return err
	}
	if _, err := v.file.Write(append(b, '\n')); err != nil {
		return err
	}
	v.keep(line{Collection: name, Object: o})
	return nil
}

// Close lets go of the file.
func (v *Vendor) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.file.Close()
}

// SetFault replaces the fault.
func (v *Vendor) SetFault(f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fault = f
}

// Requests counts the requests with a good token so far.
func (v *Vendor) Requests() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests
}

// Objects is a copy of a collection, oldest first.
func (v *Vendor) Objects(name string) []Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.collection(name)
	out := make([]Object, 0, len(c.order))
	for _, id := range c.order {
		o := *c.byID[id]
		o.Properties = maps.Clone(o.Properties)
		out = append(out, o)
	}
	return out
}

// Edit changes properties behind the connector's back, as a person at the vendor would.
func (v *Vendor) Edit(name, externalID string, props map[string]any) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.collection(name)
	o, ok := c.byID[c.byExternal[externalID]]
	if !ok {
		return fmt.Errorf("sandbox vendor: no %s %q", name, externalID)
	}
	return v.save(name, v.merged(*o, props))
}

func (v *Vendor) merged(o Object, props map[string]any) Object {
	all := maps.Clone(o.Properties)
	if all == nil {
		all = map[string]any{}
	}
	for k, p := range props {
		if p == nil {
			delete(all, k)
		} else {
			all[k] = p
		}
	}
	o.Properties, o.UpdatedAt = all, v.opts.Now().UTC()
	o.Revision++
	return o
}

func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(v.opts.Token)) != 1 {
		problem(w, http.StatusUnauthorized, "unauthorized")
		return
	}
	v.mu.Lock()
	f := v.fault
	v.requests++
	if f.Times > 0 {
		if v.fault.Times--; v.fault.Times == 0 {
			v.fault = Fault{}
		}
	}
	v.mu.Unlock()
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if f.Status != 0 {
		if f.After {
			v.mux.ServeHTTP(discard{h: http.Header{}}, r)
		}
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
		}
		problem(w, f.Status, "fault")
		return
	}
	v.mux.ServeHTTP(w, r)
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func (v *Vendor) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := 50
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 100 {
			problem(w, http.StatusUnprocessableEntity, "limit")
			return
		}
		limit = n
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.collection(r.PathValue("collection"))
	page := Page{Data: []Object{}}
	if q.Has("external_id") {
		if o, ok := c.byID[c.byExternal[q.Get("external_id")]]; ok {
			page.Data = append(page.Data, *o)
		}
		answer(w, http.StatusOK, page)
		return
	}
	from := 0
	if after := q.Get("starting_after"); after != "" {
		i, found := slices.BinarySearch(c.order, after)
		if from = i; found {
			from++
		}
	}
	for _, id := range c.order[from:] {
		if len(page.Data) == limit {
			page.HasMore = true
			break
		}
		page.Data = append(page.Data, *c.byID[id])
	}
	answer(w, http.StatusOK, page)
}

func (v *Vendor) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ExternalID string         `json:"external_id"`
		Properties map[string]any `json:"properties"`
	}
	if !read(w, r, &in) {
		return
	}
	if in.ExternalID == "" {
		problem(w, http.StatusUnprocessableEntity, "external_id")
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	name := r.PathValue("collection")
	if _, taken := v.collection(name).byExternal[in.ExternalID]; taken {
		problem(w, http.StatusConflict, "external_id_taken")
		return
	}
	now := v.opts.Now().UTC()
	o := v.merged(Object{ID: fmt.Sprintf("obj_%010d", v.next+1), ExternalID: in.ExternalID, CreatedAt: now}, in.Properties)
	if err := v.save(name, o); err != nil {
		problem(w, http.StatusInternalServerError, "internal")
		return
	}
	answer(w, http.StatusCreated, o)
}

func (v *Vendor) get(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.collection(r.PathValue("collection")).byID[r.PathValue("id")]
	if !ok {
		problem(w, http.StatusNotFound, "not_found")
		return
	}
	answer(w, http.StatusOK, o)
}

func (v *Vendor) patch(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Properties map[string]any `json:"properties"`
	}
	if !read(w, r, &in) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	name := r.PathValue("collection")
	o, ok := v.collection(name).byID[r.PathValue("id")]
	switch {
	case !ok:
		problem(w, http.StatusNotFound, "not_found")
		return
	case r.Header.Get("If-Match") != strconv.FormatInt(o.Revision, 10):
		problem(w, http.StatusPreconditionFailed, "revision")
		return
	}
	changed := v.merged(*o, in.Properties)
	if err := v.save(name, changed); err != nil {
		problem(w, http.StatusInternalServerError, "internal")
		return
	}
	answer(w, http.StatusOK, changed)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(into); err != nil {
		problem(w, http.StatusBadRequest, "json")
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code}})
}
