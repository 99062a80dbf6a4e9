package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	anchors := v.anchors(actionBrowser, s)
	var chunks []Chunk
	if _, there := v.files[browserIndex]; !there && len(anchors) == 0 || !v.file(browserIndex, &chunks) {
		return
	}
	v.chain(chain{at: browserIndex, what: "browser chunk", name: browserName, anchors: anchors}, chunks, func(name string, said chunkRecord, r *record) {
		v.browserChunk(name, s, said, r)
	}, func() {})
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
