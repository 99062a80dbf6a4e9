package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	browserIndex  = "browser/index.json"
	browserKind   = "reeve/browser/v1"
	actionBrowser = "impersonation.browser_chunk"
)

func browserName(seq int64) string { return fmt.Sprintf("browser/%08d.ndjson", seq) }

// browser compares what a browser told with the ledger: that it is what arrived, whole
// and in order. What was on the screen it does not prove.
func (v *verification) browser(s Session) {
	anchors := map[string]*record{}
	for id, r := range v.records {
		if r.Action == actionBrowser && r.ActionID == s.ID {
			anchors[id] = r
		}
	}
	var chunks []Chunk
	if _, there := v.files[browserIndex]; !there && len(anchors) == 0 || !v.file(browserIndex, &chunks) {
		return
	}
	prev := ""
	for i, ch := range chunks {
		name := browserName(ch.Seq)
		r := anchors[ch.Record]
		delete(anchors, ch.Record)
		if r == nil {
			v.bad(name, "chunk %d has no record", ch.Seq)
			continue
		}
		var said chunkRecord
		_ = json.Unmarshal(r.Data, &said)
		if ch.Seq != int64(i)+1 || said.Seq != ch.Seq || said.Prev != prev {
			v.bad(r.place, "record %s: browser chunk %d is not the one that followed; there is a gap, or an order that was changed", r.ID, ch.Seq)
		}
		prev = said.SHA256
		switch ch.State {
		case ChunkIncluded:
			v.browserChunk(name, s, said, r)
		case ChunkMissing, ChunkWithheld:
			v.note("browser chunk %d is %s; its hash stands in record %s", ch.Seq, ch.State, r.ID)
		default:
			v.bad(browserIndex, "chunk %d is in the state %q", ch.Seq, ch.State)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(anchors)) {
		v.bad(browserIndex, "leaves out the chunk of record %s", id)
	}
}

func (v *verification) browserChunk(name string, s Session, said chunkRecord, r *record) {
	data, ok := v.files[name]
	if !ok {
		v.bad(name, "is missing")
		return
	}
	v.seen[name] = true
	var h struct {
		Kind, Session, Prev string
		Seq                 int64
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	switch err := json.Unmarshal(first, &h); {
	case Hash(data) != said.SHA256 || int64(len(data)) != said.Bytes:
		v.bad(name, "is not the chunk that record %s speaks of", r.ID)
	case err != nil || h.Kind != browserKind || !strings.EqualFold(h.Session, s.ID) || h.Seq != said.Seq || h.Prev != said.Prev:
		v.bad(name, "has the head of another chunk")
	}
}
