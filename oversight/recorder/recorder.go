// Package recorder keeps what an impersonating actor did and was shown, made at the
// server, so that no browser can lie about it and no script is needed.
//
// Start with [New] and put [Recorder.Middleware] inside oversight.Service's own. A
// response is released only after its frame is stored and the chunk's hash stands
// in the ledger; when that fails the actor sees nothing, the session is paused and
// an alert is raised. Frames are masked before they are stored. [Recorder.Frames]
// and [Recorder.Frame] replay, [WriteReplay] serves a frame in a sandbox,
// [Recorder.Verify] checks every chunk against the ledger, and [Recorder.Evidence]
// puts a session's records and proofs into one document.
//
// Table: oversight_chunk, of package oversight. A [Recorder] is safe for concurrent
// use.
package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

// ActionChunk is the action under which a chunk's hash stands in the ledger.
const ActionChunk = "impersonation.chunk"

// Options tunes a Recorder. The zero value is ready to use.
type Options struct {
	// MaskFields are parts of names, in any case, of form fields, query parameters and
	// JSON members whose values are never recorded. Nil takes the default.
	MaskFields []string
	// MaskPatterns are looked for in everything that is stored, beside payment cards,
	// IBANs, keys and tokens of known shapes.
	MaskPatterns []*regexp.Regexp
	Headers      []string      // request headers to keep; nil takes the default
	MaxBody      int           // most bytes of one response's text in a recording; default 192 KiB
	MaxBuffer    int           // responses up to this size are held back until recorded, larger ones after this much; default 1 MiB
	MaxForm      int           // largest request body whose form is recorded; larger ones are refused; default 1 MiB
	Timeout      time.Duration // for storing one chunk; default 10s
}

const maxChunk = 256 << 10

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.MaskFields == nil {
		c.MaskFields = []string{"password", "passwd", "secret", "token", "otp", "totp", "api_key", "apikey", "authorization", "card", "cc-", "cvc", "cvv", "iban", "account_number", "ssn", "birth"}
	}
	for i, f := range c.MaskFields {
		if i == 0 {
			c.MaskFields = append([]string(nil), c.MaskFields...)
		}
		c.MaskFields[i] = strings.ToLower(f)
	}
	if c.Headers == nil {
		c.Headers = []string{"User-Agent", "Accept-Language", "Content-Type"}
	}
	if c.MaxBody == 0 {
		c.MaxBody = 192 << 10
	}
	if c.MaxBuffer == 0 {
		c.MaxBuffer = 1 << 20
	}
	if c.MaxForm == 0 {
		c.MaxForm = 1 << 20
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Recorder records sessions. Use [New].
type Recorder struct {
	svc   *oversight.Service
	k     *governance.Kernel
	blobs BlobStore
	opts  Options
	mask  masker

	mu    sync.Mutex
	lanes map[uuid.UUID]*lane
	good  time.Time            // when a chunk was last stored or a probe came back
	seen  map[string]time.Time // who watched which session when
}

// New makes a Recorder that stores chunks in blobs, and joins the kernel's
// background work, which resumes sessions once chunks can be stored again.
func New(svc *oversight.Service, blobs BlobStore, opts *Options) (*Recorder, error) {
	if svc == nil || blobs == nil {
		return nil, errors.New("recorder: a service and a blob store are required")
	}
	r := &Recorder{svc: svc, k: svc.Kernel(), blobs: blobs, opts: opts.withDefaults(), lanes: map[uuid.UUID]*lane{}, seen: map[string]time.Time{}}
	r.mask.fields, r.mask.patterns = r.opts.MaskFields, r.opts.MaskPatterns
	svc.RequireRecorder(r.Alive)
	r.k.Background("oversight.recorder", 5*time.Second, r.Recover)
	return r, nil
}

// Frame is one request and what the actor was shown for it.
type Frame struct {
	At          time.Time           `json:"at"`
	TookMillis  int64               `json:"took_ms"`
	Actor       string              `json:"actor"`
	Subject     string              `json:"subject"`
	Method      string              `json:"method"`
	Path        string              `json:"path"`
	Query       map[string][]string `json:"query,omitempty"`
	Headers     map[string]string   `json:"headers,omitempty"`
	Form        map[string][]string `json:"form,omitempty"`
	Status      int                 `json:"status"`
	Location    string              `json:"location,omitempty"`
	ContentType string              `json:"content_type,omitempty"`
	Size        int64               `json:"size"`             // bytes of the response that were seen
	SHA256      string              `json:"sha256,omitempty"` // of them, before masking
	Body        string              `json:"body,omitempty"`   // masked
	Truncated   bool                `json:"truncated,omitempty"`
	Remasked    int                 `json:"remasked,omitempty"` // what masking had left and the check at storing took out
}

type chunkHead struct {
	Kind    string    `json:"kind"`
	Session uuid.UUID `json:"session"`
	Seq     int64     `json:"seq"`
	Prev    string    `json:"prev"` // hash of the chunk before
}

const chunkKind = "reeve/recording/v1"

type chunkRow struct {
	bun.BaseModel `bun:"table:oversight_chunk"`

	Session uuid.UUID    `bun:"session,pk"`
	Seq     int64        `bun:"seq,pk"`
	Blob    string       `bun:"blob"`
	SHA256  string       `bun:"sha256"`
	Prev    string       `bun:"prev"`
	Bytes   int64        `bun:"bytes"`
	Frames  int64        `bun:"frames"`
	Record  uuid.UUID    `bun:"record"`
	FirstAt govdb.Micros `bun:"first_at"`
	LastAt  govdb.Micros `bun:"last_at"`
}

// lane gathers the frames of one session: those that arrive while a chunk is being
// stored share the next one.
type lane struct {
	waiting []*pending
	busy    bool
}

type pending struct {
	at     time.Time
	line   []byte
	masked int64 // hits of the check at storing
	done   chan error
}

// add stores a frame and returns when it is stored and its chunk anchored. The
// first caller of a lane stores for those that arrive behind it.
func (r *Recorder) add(ctx context.Context, session oversight.Session, id governance.Identity, f Frame) error {
	line, err := encode(f)
	if err != nil {
		return err
	}
	if f.Body != "" && len(line) > maxChunk-1024 { // escaping made it too long
		f.Body, f.Truncated = "", true
		if line, err = encode(f); err != nil {
			return err
		}
	}
	p := &pending{f.At, line, int64(f.Remasked), make(chan error, 1)}
	r.mu.Lock()
	l := r.lanes[session.ID]
	if l == nil {
		l = &lane{}
		r.lanes[session.ID] = l
	}
	l.waiting = append(l.waiting, p)
	lead := !l.busy
	l.busy = true
	r.mu.Unlock()
	if lead {
		r.drain(context.WithoutCancel(ctx), session, id, l)
	}
	return <-p.done
}

func encode(v any) ([]byte, error) {
	s, ok := encodeJSON(v)
	if !ok {
		return nil, errors.New("recorder: a frame does not encode")
	}
	return append([]byte(s), '\n'), nil
}

func (r *Recorder) drain(ctx context.Context, session oversight.Session, id governance.Identity, l *lane) {
	for {
		r.mu.Lock()
		batch, size := l.waiting, 0
		for i, p := range batch {
			if size += len(p.line); i > 0 && size > maxChunk-1024 {
				batch = batch[:i]
				break
			}
		}
		l.waiting = l.waiting[len(batch):]
		if len(batch) == 0 {
			l.busy = false
			delete(r.lanes, session.ID)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		err := r.store(ctx, session, id, batch)
		for _, p := range batch {
			p.done <- err
		}
	}
}

// store writes one chunk and its record. Another server may store for the same
// session at the moment: the one that loses the number takes the next.
func (r *Recorder) store(ctx context.Context, session oversight.Session, id governance.Identity, batch []*pending) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil { // a blob store is foreign code
			err = fmt.Errorf("recorder: panic: %v", p)
		}
	}()
	for try := 0; ; try++ {
		err := r.storeOnce(ctx, session, id, batch)
		if err == nil {
			r.works()
		}
		if err == nil || try == 9 || !governance.IsUnique(err) && !errors.Is(err, governance.ErrRetry) {
			return err
		}
	}
}

func (r *Recorder) storeOnce(ctx context.Context, session oversight.Session, id governance.Identity, batch []*pending) error {
	var last []chunkRow
	if err := r.k.DB().Handle().NewSelect().Model(&last).Where("session = ?", session.ID).Order("seq DESC").Limit(1).Scan(ctx); err != nil {
		return fmt.Errorf("last chunk of %s: %w", session.ID, err)
	}
	head := chunkHead{Kind: chunkKind, Session: session.ID, Seq: 1}
	if len(last) == 1 {
		head.Seq, head.Prev = last[0].Seq+1, last[0].SHA256
	}
	data, err := encode(head)
	if err != nil {
		return err
	}
	row := &chunkRow{Session: session.ID, Seq: head.Seq, Prev: head.Prev, Frames: int64(len(batch)), FirstAt: govdb.At(batch[0].at), LastAt: govdb.At(batch[0].at)}
	remasked := int64(0)
	for _, p := range batch {
		data = append(data, p.line...)
		remasked += p.masked
		row.FirstAt, row.LastAt = min(row.FirstAt, govdb.At(p.at)), max(row.LastAt, govdb.At(p.at))
	}
	row.SHA256, row.Bytes = digest(data), int64(len(data))
	// The hash in the name keeps a chunk that was stored and never committed from
	// standing in the way of the next one of its number.
	row.Blob = fmt.Sprintf("%s/%06d-%s.ndjson", session.ID, row.Seq, strings.TrimPrefix(row.SHA256, "sha256:")[:16])
	if err := r.blobs.Put(ctx, row.Blob, data); err != nil {
		return err
	}
	return r.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		receipt, err := r.k.RecordTx(ctx, tx, id, governance.Record{Action: ActionChunk, Tenant: session.Tenant, Resource: governance.RefTo("session", session.ID),
			ActionID: session.ID, Outcome: governance.OutcomeObserved, Data: map[string]any{"seq": row.Seq, "sha256": row.SHA256, "prev": row.Prev, "bytes": row.Bytes,
				"frames": row.Frames, "first_at": row.FirstAt.Time(), "last_at": row.LastAt.Time(), "remasked": remasked}})
		if err != nil {
			return err
		}
		row.Record = receipt.ID
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("chunk %d of %s: %w", row.Seq, session.ID, err)
		}
		return nil
	})
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// works remembers that storing works now.
func (r *Recorder) works() {
	now := r.k.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good = now
}

// heartbeat is how long a proof that storing works is good.
const heartbeat = 15 * time.Second

// Alive finds out whether chunks can be stored: one was a short while ago, or a probe
// comes back. Sessions begin only while it gives nil.
func (r *Recorder) Alive(ctx context.Context) error {
	now := r.k.Now()
	r.mu.Lock()
	good := r.good
	r.mu.Unlock()
	if !good.IsZero() && now.Sub(good) < heartbeat {
		return nil
	}
	return r.probe(ctx)
}

// probe stores something, reads it back and removes it.
func (r *Recorder) probe(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil { // a blob store is foreign code
			err = fmt.Errorf("recorder: panic: %v", p)
		}
	}()
	key := "probe/" + uuid.NewString()
	want := []byte(key)
	if err := r.blobs.Put(ctx, key, want); err != nil {
		return fmt.Errorf("the recorder fails: %w", err)
	}
	got, err := r.blobs.Get(ctx, key)
	if err != nil || !bytes.Equal(got, want) {
		return errors.Join(errors.New("the recorder fails: it does not give back what it was given"), err)
	}
	if err := r.blobs.Delete(ctx, key); err != nil {
		return fmt.Errorf("the recorder fails: %w", err)
	}
	r.works()
	return nil
}

// fail pauses a session that could not be recorded.
func (r *Recorder) fail(ctx context.Context, session oversight.Session, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout)
	defer cancel()
	r.mu.Lock()
	r.good = time.Time{}
	r.mu.Unlock()
	r.k.Logger().ErrorContext(ctx, "recording failed, the session is paused", "session", session.ID, "tenant", session.Tenant, "error", err)
	if perr := r.svc.Pause(ctx, session.ID, oversight.ByRecorder, "the recorder could not store what was shown"); perr != nil {
		r.k.Logger().ErrorContext(ctx, "pause a session", "session", session.ID, "error", perr)
	}
}

// Recover looks whether chunks can be stored while sessions are open. While they
// cannot, active sessions are paused, before anybody works in them unrecorded; once
// they can, the paused ones go on. The kernel calls it; tests may.
func (r *Recorder) Recover(ctx context.Context) error {
	open, err := r.svc.Sessions(ctx, oversight.Filter{States: []oversight.State{oversight.StateActive, oversight.StatePaused}, Limit: 200})
	if err != nil || len(open) == 0 {
		return err
	}
	failed := r.Alive(ctx)
	errs := []error{failed}
	for _, s := range open {
		switch {
		case s.State == oversight.StateActive && failed != nil:
			errs = append(errs, r.svc.Pause(ctx, s.ID, oversight.ByRecorder, "the recorder does not answer"))
		case s.State == oversight.StatePaused && s.PausedBy == oversight.ByRecorder && failed == nil:
			errs = append(errs, r.svc.Resume(ctx, s.ID, oversight.ByRecorder))
		}
	}
	return errors.Join(errs...)
}

// chunks lists a session's chunks in order.
func (r *Recorder) chunks(ctx context.Context, session uuid.UUID) ([]chunkRow, error) {
	var rows []chunkRow
	if err := r.k.DB().Read().NewSelect().Model(&rows).Where("session = ?", session).Order("seq").Scan(ctx); err != nil {
		return nil, fmt.Errorf("chunks of %s: %w", session, err)
	}
	return rows, nil
}

// read gives the frames of one chunk. A chunk that is not the one recorded is an
// error: nothing doctored is replayed as if it were true.
func (r *Recorder) read(ctx context.Context, row chunkRow) ([]Frame, error) {
	data, err := r.blobs.Get(ctx, row.Blob)
	if err != nil {
		return nil, err
	}
	if digest(data) != row.SHA256 {
		return nil, fmt.Errorf("chunk %d of session %s: %w", row.Seq, row.Session, ErrTampered)
	}
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	var h chunkHead
	if err := json.Unmarshal(head, &h); err != nil || h.Kind != chunkKind || h.Session != row.Session || h.Seq != row.Seq || h.Prev != row.Prev {
		return nil, fmt.Errorf("chunk %d of session %s: its head is of another chunk: %w", row.Seq, row.Session, ErrTampered)
	}
	var out []Frame
	for line := range bytes.Lines(rest) {
		var f Frame
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, fmt.Errorf("chunk %d of session %s: frame %d: %w", row.Seq, row.Session, len(out), err)
		}
		out = append(out, f)
	}
	return out, nil
}

// ErrTampered says that a chunk is not what was recorded.
var ErrTampered = errors.New("the recording was changed")
