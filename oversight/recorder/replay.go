package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
)

// ReplayPolicy is the Content-Security-Policy of a replayed frame: a page of its
// own origin, in which nothing runs, loads or submits.
const ReplayPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'"

// WriteReplay serves a frame for a sandboxed iframe.
func WriteReplay(w http.ResponseWriter, f Frame) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ReplayPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, err := io.WriteString(w, ReplayHTML(f))
	return err
}

// ReplayHTML is the page of a frame: what was shown, or a sentence about it.
func ReplayHTML(f Frame) string {
	typ, _, _ := mime.ParseMediaType(f.ContentType)
	if f.Body != "" && (typ == "text/html" || typ == "application/xhtml+xml") {
		return f.Body
	}
	text := f.Body
	switch {
	case text != "":
	case f.Location != "":
		text = "Redirected to " + f.Location
	case f.Size == 0:
		text = "An empty response."
	default:
		text = fmt.Sprintf("%d bytes of %s, not recorded. %s", f.Size, typ, f.SHA256)
	}
	return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Frame</title><pre>" + html.EscapeString(text) + "</pre></html>"
}

// Watch writes down that somebody looks at a recording, once an hour for each
// person and session.
func (r *Recorder) Watch(ctx context.Context, id governance.Identity, session oversight.Session) error {
	key, now := id.Actor.ID+"\x00"+session.ID.String(), r.k.Now()
	r.mu.Lock()
	last, seen := r.seen[key]
	r.mu.Unlock()
	if seen && now.Sub(last) < time.Hour {
		return nil
	}
	err := r.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := r.k.RecordTx(ctx, tx, id, governance.Record{Action: "recording.watch", Tenant: session.Tenant, Resource: governance.RefTo("session", session.ID), Outcome: governance.OutcomeObserved})
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, at := range r.seen {
		if now.Sub(at) >= time.Hour {
			delete(r.seen, k)
		}
	}
	r.seen[key] = now
	return nil
}

// records lists the ledger's records that speak of a session, oldest first.
func (r *Recorder) records(ctx context.Context, s oversight.Session) ([]ledger.Record, error) {
	var out []ledger.Record
	f := ledger.Filter{Tenant: string(s.Tenant), Search: s.ID.String(), Limit: 200}
	for {
		page, err := r.k.Ledger().Records(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < int(f.Limit) {
			break
		}
		f.Before = page[len(page)-1].ID
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, nil
}

// Evidence is everything about a session that somebody outside needs to check it:
// its records with proofs, and the hashes of its recording.
type Evidence struct {
	Kind        string            `json:"kind"`
	Session     oversight.Session `json:"session"`
	Records     []EvidenceRecord  `json:"records"`
	Recording   Report            `json:"recording"`
	VerifierKey string            `json:"verifier_key"`
	MadeAt      time.Time         `json:"made_at"`
}

// EvidenceRecord is a ledger record and its proof; a record that is not sealed yet
// has none.
type EvidenceRecord struct {
	ID    uuid.UUID       `json:"id"`
	At    time.Time       `json:"at"`
	Body  json.RawMessage `json:"body"`
	Proof *ledger.Proof   `json:"proof,omitempty"`
}

// EvidenceKind names the form of [Evidence].
const EvidenceKind = "reeve/evidence/session/v1"

// Evidence gathers a session's evidence and writes down that it was taken.
func (r *Recorder) Evidence(ctx context.Context, id governance.Identity, session uuid.UUID) (Evidence, error) {
	s, err := r.svc.Session(ctx, session)
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{Kind: EvidenceKind, Session: s, Records: []EvidenceRecord{}, VerifierKey: r.k.Ledger().VerifierKey(), MadeAt: r.k.Now()}
	records, err := r.records(ctx, s)
	if err != nil {
		return e, err
	}
	for _, rec := range records {
		er := EvidenceRecord{ID: rec.ID, At: rec.At, Body: rec.Body}
		p, err := r.k.Ledger().Prove(ctx, rec.ID)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return e, err
		}
		if err == nil {
			er.Proof = &p
		}
		e.Records = append(e.Records, er)
	}
	if e.Recording, err = r.Verify(ctx, session); err != nil {
		return e, err
	}
	return e, r.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := r.k.RecordTx(ctx, tx, id, governance.Record{Action: "evidence.take", Tenant: s.Tenant, Resource: governance.RefTo("session", s.ID), Outcome: governance.OutcomeObserved,
			Data: map[string]any{"records": len(e.Records), "chunks": len(e.Recording.Chunks)}})
		return err
	})
}

// Records lists the ledger records of a session, oldest first, for its timeline.
func (r *Recorder) Records(ctx context.Context, s oversight.Session) ([]ledger.Record, error) {
	return r.records(ctx, s)
}
