package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	chunkKind     = "reeve/recording/v1"
	actionChunk   = "impersonation.chunk"
	actionOpen    = "impersonation.open"
	actionEnd     = "impersonation.end"
	actionRequest = "impersonation.request"
)

type chunkHead struct {
	Kind    string `json:"kind"`
	Session string `json:"session"`
	Seq     int64  `json:"seq"`
	Prev    string `json:"prev"`
}

type frame struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"`
	SHA256 string    `json:"sha256"`
}

// readChunk takes a chunk apart: its head in the first line, a frame in each other.
func readChunk(data []byte) (chunkHead, []frame, error) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	var h chunkHead
	if err := strict(first, &h); err != nil || h.Kind != chunkKind {
		return h, nil, errors.New("does not begin with the head of a chunk")
	}
	var out []frame
	for line := range bytes.Lines(rest) {
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			return h, nil, fmt.Errorf("frame %d does not parse", len(out)+1)
		}
		out = append(out, f)
	}
	return h, out, nil
}

func appendRequests(out []Request, chunk int64, fs []frame) []Request {
	for _, f := range fs {
		out = append(out, Request{len(out) + 1, chunk, f.At.UTC(), f.Method, f.Path, f.Status, f.SHA256})
	}
	return out
}

func (v *verification) session() {
	const at = "session/session.json"
	if v.m.Subject.Kind != KindSession {
		if v.m.Subject.Kind != KindAction {
			v.bad(manifestName, "is about a %q, which no pack is", v.m.Subject.Kind)
		}
		return
	}
	var s Session
	if !v.file(at, &s) {
		return
	}
	if s.ID != v.m.Subject.ID || s.Tenant != v.m.Subject.Tenant {
		v.bad(at, "is another session than the manifest's")
	}
	v.browser(s)
	requests, whole := v.recording(s)
	var listed []Request
	if v.file("session/requests.json", &listed) {
		v.rep.Requests = len(listed)
		if !slices.Equal(listed, requests) {
			v.bad("session/requests.json", "does not list what the recording shows")
		}
	}
	opened, ended := v.life(at, s)
	for _, r := range requests {
		if opened.IsZero() || r.At.Before(opened.Add(-slack)) || !ended.IsZero() && r.At.After(ended.Add(slack)) {
			v.bad(chunkName(r.Chunk), "request %d was made outside the session", r.N)
			break
		}
	}
	blocked := int64(0)
	for _, r := range v.records {
		if r.Action == actionRequest && r.Outcome == "denied" && r.ActionID == s.ID {
			blocked++
		}
	}
	if blocked != s.Blocked {
		v.bad(at, "says that %d requests were refused, %d records do", s.Blocked, blocked)
	}
	switch missing := s.Requests - int64(len(requests)) - s.Unseen; {
	case s.Unseen < 0 || whole && s.State == "ended" && missing != 0:
		v.bad("recording/index.json", "%d of %d requests have no frame, besides %d that the session knows of", missing, s.Requests, s.Unseen)
	case s.State != "ended":
		v.note("the session had not ended when the pack was built")
	case s.Unseen > 0:
		v.note("%d of %d requests were let through and have no frame: the recorder failed, or the server stopped", s.Unseen, s.Requests)
	}
}

// life compares the session with its records, and says when it began and ended.
func (v *verification) life(at string, s Session) (opened, ended time.Time) {
	var open, end *record
	for _, id := range slices.Sorted(maps.Keys(v.records)) {
		r := v.records[id]
		if r.ActionID != s.ID {
			continue
		}
		switch r.Action {
		case actionOpen:
			if open != nil {
				v.bad(r.place, "record %s opens the session a second time", id)
			}
			open = r
		case actionEnd:
			if end != nil {
				v.bad(r.place, "record %s ends the session a second time", id)
			}
			end = r
		}
	}
	if (open == nil) != s.OpenedAt.IsZero() || (end == nil) != (s.State != "ended") {
		v.bad(at, "says that the session was opened or ended, the records do not, or the other way round")
	}
	if open != nil {
		var data struct {
			Scope   string    `json:"scope"`
			User    string    `json:"user"`
			Expires time.Time `json:"expires_at"`
		}
		_ = json.Unmarshal(open.Data, &data)
		opened = open.at
		if data.Scope != s.Scope || data.User != s.User || data.Expires.UnixMicro() != s.ExpiresAt.UnixMicro() || open.Actor.ID != s.Actor || open.Actor.Person != s.Person ||
			open.Tenant != s.Tenant || !near(opened, s.OpenedAt, slack) || open.Subject == nil || open.Subject.ID != s.Subject {
			v.bad(at, "is not the session that record %s opened", open.ID)
		}
		ended = data.Expires
		v.allowed(at, s, open)
	}
	if end != nil {
		var data struct {
			Ended string `json:"ended"`
		}
		_ = json.Unmarshal(end.Data, &data)
		if data.Ended != s.Ended || !near(end.at, s.EndedAt, slack) || end.at.Before(opened) {
			v.bad(at, "did not end as record %s says", end.ID)
		}
		if end.at.Before(ended) {
			ended = end.at
		}
	}
	return opened, ended
}

// allowed checks that the session is no more than what was asked for and allowed.
func (v *verification) allowed(at string, s Session, open *record) {
	var payload struct {
		Input struct {
			User    string `json:"user"`
			Scope   string `json:"scope"`
			Minutes int64  `json:"minutes"`
		} `json:"input"`
	}
	_ = json.Unmarshal(v.files["actions/"+s.ID+"/payload.json"], &payload)
	in := payload.Input
	if in.User != s.User || in.Scope != s.Scope || s.ExpiresAt.Sub(s.OpenedAt) > time.Duration(in.Minutes)*time.Minute {
		v.bad(at, "is another session than the one that was asked for: another user, scope or length")
	}
	var done *record
	for _, r := range v.records {
		if r.ActionID == s.ID && r.Digest != "" && r.Outcome == "done" && r.Action == v.m.Subject.Name {
			done = r
		}
	}
	if done == nil || open.at.Before(done.at) {
		v.bad(open.place, "record %s opens the session before it was allowed", open.ID)
	}
}

type chunkRecord struct {
	Seq    int64  `json:"seq"`
	SHA256 string `json:"sha256"`
	Prev   string `json:"prev"`
	Bytes  int64  `json:"bytes"`
	Frames int64  `json:"frames"`
}

// recording compares every chunk with the ledger. whole is false when chunks are
// left out, for a reason that the index gives.
func (v *verification) recording(s Session) (requests []Request, whole bool) {
	const at = "recording/index.json"
	whole, requests = true, []Request{}
	var chunks []Chunk
	if !v.file(at, &chunks) {
		return requests, false
	}
	v.chain(chain{at: at, what: "chunk", of: " of the recording", name: chunkName, anchors: v.anchors(actionChunk, s)}, chunks, func(name string, said chunkRecord, r *record) {
		requests = v.chunk(name, s, said, r, requests)
	}, func() { whole = false })
	return requests, whole
}

// anchors are the records of a session's chunks, by id.
func (v *verification) anchors(action string, s Session) map[string]*record {
	out := map[string]*record{}
	for id, r := range v.records {
		if r.Action == action && r.ActionID == s.ID {
			out[id] = r
		}
	}
	return out
}

// chain is how chunks that follow each other are named and anchored.
type chain struct {
	at       string // their index
	what, of string
	name     func(seq int64) string
	anchors  map[string]*record
}

// chain checks that each chunk of an index has its record, that they follow each other,
// and that no record's chunk is left out of the index.
func (v *verification) chain(c chain, chunks []Chunk, included func(name string, said chunkRecord, r *record), absent func()) {
	prev := ""
	for i, ch := range chunks {
		name := c.name(ch.Seq)
		r := c.anchors[ch.Record]
		delete(c.anchors, ch.Record)
		if r == nil {
			v.bad(name, "chunk %d has no record", ch.Seq)
			continue
		}
		var said chunkRecord
		_ = json.Unmarshal(r.Data, &said)
		if ch.Seq != int64(i)+1 || said.Seq != ch.Seq || said.Prev != prev {
			v.bad(r.place, "record %s: %s %d is not the one that followed; there is a gap, or an order that was changed", r.ID, c.what, ch.Seq)
		}
		prev = said.SHA256
		switch ch.State {
		case ChunkIncluded:
			included(name, said, r)
		case ChunkMissing, ChunkWithheld:
			absent()
			v.note("%s %d%s is %s; its hash stands in record %s", c.what, ch.Seq, c.of, ch.State, r.ID)
		default:
			v.bad(c.at, "chunk %d is in the state %q", ch.Seq, ch.State)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.anchors)) {
		v.bad(c.at, "leaves out the chunk of record %s", id)
	}
}

func (v *verification) chunk(name string, s Session, said chunkRecord, r *record, requests []Request) []Request {
	data, ok := v.files[name]
	if !ok {
		v.bad(name, "is missing")
		return requests
	}
	v.seen[name] = true
	v.rep.Chunks++
	h, fs, err := readChunk(data)
	switch {
	case Hash(data) != said.SHA256 || int64(len(data)) != said.Bytes:
		v.bad(name, "is not the chunk that record %s speaks of", r.ID)
	case err != nil:
		v.bad(name, "%v", err)
	case !strings.EqualFold(h.Session, s.ID) || h.Seq != said.Seq || h.Prev != said.Prev:
		v.bad(name, "has the head of another chunk")
	case int64(len(fs)) != said.Frames:
		v.bad(name, "has %d frames, record %s speaks of %d", len(fs), r.ID, said.Frames)
	}
	return appendRequests(requests, said.Seq, fs)
}
