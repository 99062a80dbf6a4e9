package recorder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// FrameInfo is a frame in the list of a session's recording.
type FrameInfo struct {
	N           int       `json:"n"` // from 1; frames that are lost keep their numbers
	At          time.Time `json:"at"`
	Method      string    `json:"method"`
	Path        string    `json:"path"`
	Status      int       `json:"status"`
	ContentType string    `json:"content_type,omitempty"`
	Size        int64     `json:"size"`
	Shown       bool      `json:"shown"` // there is something to replay
	Chunk       int64     `json:"chunk"`
}

// GapKind says what is wrong with a stretch of a recording.
type GapKind string

// The kinds of gap.
const (
	GapMissing    GapKind = "missing"    // its bytes or its row are gone
	GapAltered    GapKind = "altered"    // its bytes are others than those recorded
	GapMoved      GapKind = "moved"      // it is a chunk from another place
	GapForeign    GapKind = "foreign"    // the ledger never knew it
	GapTruncated  GapKind = "truncated"  // the end is missing
	GapUnrecorded GapKind = "unrecorded" // requests without a frame
)

// Gap is a stretch of a recording that cannot be replayed, and why.
type Gap struct {
	Kind   GapKind   `json:"kind"`
	Chunk  int64     `json:"chunk,omitempty"`
	After  int       `json:"after"`  // number of the frame before it, 0 at the beginning
	Frames int64     `json:"frames"` // how many are lost, as far as it is known
	From   time.Time `json:"from,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Text   string    `json:"text"`
}

// Chunk is one stored part of a recording.
type Chunk struct {
	Seq     int64     `json:"seq"`
	SHA256  string    `json:"sha256"`
	Prev    string    `json:"prev,omitempty"`
	Bytes   int64     `json:"bytes"`
	Frames  int64     `json:"frames"`
	Record  uuid.UUID `json:"record"` // the ledger record that anchors it
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// Report is what Verify found.
type Report struct {
	Chunks   []Chunk  `json:"chunks"`
	Frames   int64    `json:"frames"`
	Requests int64    `json:"requests"` // let through, by the session's own count
	Problems []string `json:"problems"` // empty: the recording is whole and as it was recorded
	Gaps     []Gap    `json:"gaps"`     // where the problems are
}

type chunkRecord struct {
	Action  string `json:"action"`
	Session string `json:"session"`
	Data    struct {
		Seq     int64     `json:"seq"`
		SHA256  string    `json:"sha256"`
		Prev    string    `json:"prev"`
		Frames  int64     `json:"frames"`
		FirstAt time.Time `json:"first_at"`
		LastAt  time.Time `json:"last_at"`
		Chunks  int64     `json:"chunks"` // of the record of the end
		Chunk   string    `json:"chunk"`
	} `json:"data"`
	id uuid.UUID
}

// part is one chunk as the ledger and the store know it.
type part struct {
	seq    int64
	base   int // frames before it
	count  int64
	row    *chunkRow
	frames []Frame // of a sound one
	gap    *Gap
}

// whole is a recording laid beside the ledger.
type whole struct {
	session oversight.Session
	parts   []part
	rows    []chunkRow
	gaps    []Gap
	stored  int64 // frames in the rows
	total   int   // frames by number
}

// load reads a recording and finds every place where it is not what the ledger says.
// The ledger decides what there should be: a row or a file that it does not know
// proves nothing.
func (r *Recorder) load(ctx context.Context, session uuid.UUID) (whole, error) {
	var w whole
	var err error
	if w.session, err = r.svc.Session(ctx, session); err != nil {
		return w, err
	}
	if w.rows, err = r.chunks(ctx, session); err != nil {
		return w, err
	}
	records, err := r.records(ctx, w.session)
	if err != nil {
		return w, err
	}
	anchored, byHash := map[int64]chunkRecord{}, map[string]int64{}
	var twice []int64
	var end chunkRecord
	for _, rec := range records {
		var c chunkRecord
		if err := json.Unmarshal(rec.Body, &c); err != nil {
			return w, fmt.Errorf("record %s: %w", rec.ID, err)
		}
		if c.Session != session.String() {
			continue
		}
		c.id = rec.ID
		switch c.Action {
		case ActionChunk:
			if _, have := anchored[c.Data.Seq]; have {
				twice = append(twice, c.Data.Seq)
			}
			anchored[c.Data.Seq], byHash[c.Data.SHA256] = c, c.Data.Seq
		case "impersonation.end":
			end = c
		}
	}
	rows, last := map[int64]*chunkRow{}, end.Data.Chunks
	for i := range w.rows {
		rows[w.rows[i].Seq] = &w.rows[i]
		w.stored += w.rows[i].Frames
		last = max(last, w.rows[i].Seq)
	}
	for seq := range anchored {
		last = max(last, seq)
	}
	for seq := int64(1); seq <= last; seq++ {
		c, known := anchored[seq]
		p := part{seq: seq, base: w.total, count: c.Data.Frames, row: rows[seq]}
		if p.gap, err = r.examine(ctx, &p, c, known, byHash); err != nil {
			return w, err
		}
		if !known && p.row == nil && seq > int64(len(w.rows)) {
			p.gap.Kind, p.gap.Text = GapTruncated, fmt.Sprintf("chunk %d is cut off: the session ended with %d", seq, end.Data.Chunks)
		}
		if p.gap == nil && seq == end.Data.Chunks && p.row.SHA256 != end.Data.Chunk {
			p.gap = &Gap{Kind: GapMoved, Text: fmt.Sprintf("chunk %d is not the one that the session ended with", seq)}
		}
		if p.gap != nil {
			p.frames = nil
			p.gap.Chunk, p.gap.After, p.gap.Frames, p.gap.From, p.gap.Until = seq, w.total, p.count, c.Data.FirstAt, c.Data.LastAt
			w.gaps = append(w.gaps, *p.gap)
		}
		w.total += int(p.count)
		w.parts = append(w.parts, p)
	}
	slices.Sort(twice)
	for _, seq := range slices.Compact(twice) {
		w.gaps = append(w.gaps, Gap{Kind: GapForeign, Chunk: seq, After: w.total, Text: fmt.Sprintf("the ledger has chunk %d twice", seq)})
	}
	if lost := w.session.Requests - w.stored; w.session.State == oversight.StateEnded && lost > 0 {
		w.gaps = append(w.gaps, Gap{Kind: GapUnrecorded, After: w.total, Frames: lost, Text: fmt.Sprintf("%d requests have no frame", lost)})
	}
	return w, nil
}

// examine compares one chunk with the ledger and reads it. A gap is what is wrong
// with it.
func (r *Recorder) examine(ctx context.Context, p *part, c chunkRecord, known bool, byHash map[string]int64) (*Gap, error) {
	gap := func(k GapKind, format string, args ...any) (*Gap, error) {
		return &Gap{Kind: k, Text: fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case !known && p.row == nil:
		return gap(GapMissing, "chunk %d is missing here and in the ledger", p.seq)
	case !known:
		if at, other := byHash[p.row.SHA256]; other {
			return gap(GapMoved, "chunk %d is chunk %d again: the ledger says something else", p.seq, at)
		}
		return gap(GapForeign, "chunk %d: the ledger knows nothing of it", p.seq)
	case p.row == nil:
		return gap(GapMissing, "the ledger knows of a chunk %d that is not there", p.seq)
	}
	if d := c.Data; d.SHA256 != p.row.SHA256 || d.Prev != p.row.Prev || d.Frames != p.row.Frames || c.id != p.row.Record {
		if at, other := byHash[p.row.SHA256]; other && at != p.seq {
			return gap(GapMoved, "chunk %d is the one recorded as %d: the order was changed", p.seq, at)
		}
		return gap(GapAltered, "chunk %d: the ledger says something else", p.seq)
	}
	fs, err := r.read(ctx, *p.row)
	switch {
	case errors.Is(err, ErrTampered):
		return gap(GapAltered, "chunk %d: its bytes are not those that were recorded", p.seq)
	case errors.Is(err, governance.ErrNotFound):
		return gap(GapMissing, "chunk %d is missing", p.seq)
	case err != nil:
		return nil, err
	case int64(len(fs)) != p.row.Frames:
		return gap(GapAltered, "chunk %d has %d frames, %d were recorded", p.seq, len(fs), p.row.Frames)
	}
	p.frames = fs
	return nil, nil
}

// Replay is a recording for somebody who watches it: its sound frames in order, and
// the gaps between them.
type Replay struct {
	Frames []FrameInfo `json:"frames"`
	Report Report      `json:"report"`
}

// Replay reads a session's recording and checks it against the ledger. Nothing that
// was changed is among the frames.
func (r *Recorder) Replay(ctx context.Context, session uuid.UUID) (Replay, error) {
	w, err := r.load(ctx, session)
	if err != nil {
		return Replay{}, err
	}
	out := Replay{Frames: []FrameInfo{}, Report: w.report()}
	for _, p := range w.parts {
		for i, f := range p.frames {
			out.Frames = append(out.Frames, FrameInfo{p.base + i + 1, f.At, f.Method, f.Path, f.Status, f.ContentType, f.Size, f.Body != "", p.seq})
		}
	}
	return out, nil
}

// Frames lists what a session did and was shown, in order, as far as it is sound.
func (r *Recorder) Frames(ctx context.Context, session uuid.UUID) ([]FrameInfo, error) {
	got, err := r.Replay(ctx, session)
	return got.Frames, err
}

// Frame reads the n-th frame of a session, from 1. One that is lost or was changed is
// [ErrTampered].
func (r *Recorder) Frame(ctx context.Context, session uuid.UUID, n int) (Frame, error) {
	w, err := r.load(ctx, session)
	if err != nil {
		return Frame{}, err
	}
	for _, p := range w.parts {
		if n <= p.base || n > p.base+int(p.count) {
			continue
		}
		if p.gap != nil {
			return Frame{}, fmt.Errorf("frame %d of session %s: %s: %w: %w", n, session, p.gap.Text, ErrTampered, governance.ErrConflict)
		}
		return p.frames[n-p.base-1], nil
	}
	return Frame{}, fmt.Errorf("frame %d of session %s: %w", n, session, governance.ErrNotFound)
}

// Last is the newest sound frame that showed something, for those who watch a
// session while it goes on, and its number; 0 when there is none yet. It reads no
// more than it must and checks that chunk alone.
func (r *Recorder) Last(ctx context.Context, session uuid.UUID) (Frame, int, error) {
	rows, err := r.chunks(ctx, session)
	if err != nil {
		return Frame{}, 0, err
	}
	n := 0
	for _, row := range rows {
		n += int(row.Frames)
	}
	for i := len(rows) - 1; i >= 0 && i >= len(rows)-20; i-- {
		row := rows[i]
		rec, err := r.k.Ledger().Record(ctx, row.Record)
		if err != nil {
			return Frame{}, 0, fmt.Errorf("chunk %d of session %s: %w", row.Seq, session, err)
		}
		var c chunkRecord
		if err := json.Unmarshal(rec.Body, &c); err != nil {
			return Frame{}, 0, fmt.Errorf("record %s: %w", rec.ID, err)
		}
		if c.Action != ActionChunk || c.Session != session.String() || c.Data.Seq != row.Seq || c.Data.SHA256 != row.SHA256 {
			return Frame{}, 0, fmt.Errorf("chunk %d of session %s: %w", row.Seq, session, ErrTampered)
		}
		fs, err := r.read(ctx, row)
		if err != nil {
			return Frame{}, 0, err
		}
		for j := len(fs) - 1; j >= 0; j-- {
			if fs[j].Body != "" {
				return fs[j], n - len(fs) + j + 1, nil
			}
		}
		n -= int(row.Frames)
	}
	return Frame{}, 0, nil
}

func (w *whole) report() Report {
	rep := Report{Chunks: []Chunk{}, Frames: w.stored, Requests: w.session.Requests, Problems: []string{}, Gaps: append([]Gap{}, w.gaps...)}
	for _, row := range w.rows {
		rep.Chunks = append(rep.Chunks, Chunk{row.Seq, row.SHA256, row.Prev, row.Bytes, row.Frames, row.Record, row.FirstAt.Time(), row.LastAt.Time()})
	}
	slices.SortStableFunc(rep.Gaps, func(a, b Gap) int { return cmp.Compare(a.After, b.After) })
	for _, g := range rep.Gaps {
		rep.Problems = append(rep.Problems, g.Text)
	}
	return rep
}

// Verify compares every chunk with the ledger: its bytes with the hash that was
// recorded, its place in the order, and the number of chunks and frames with what
// the ledger and the session know of.
func (r *Recorder) Verify(ctx context.Context, session uuid.UUID) (Report, error) {
	w, err := r.load(ctx, session)
	if err != nil {
		return Report{Chunks: []Chunk{}, Problems: []string{}, Gaps: []Gap{}}, err
	}
	return w.report(), nil
}
