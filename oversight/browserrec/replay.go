package browserrec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// read gives the events of one chunk; one that is not what was stored is
// [recorder.ErrTampered].
func (s *Service) read(ctx context.Context, row chunkRow) ([]event, error) {
	data, err := s.data(ctx, row)
	if err != nil {
		return nil, err
	}
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	var h chunkHead
	if err := json.Unmarshal(head, &h); err != nil || h != (chunkHead{chunkKind, row.Session, row.Seq, row.Prev, row.Page, row.N}) {
		return nil, fmt.Errorf("browser chunk %d of session %s: its head is of another chunk: %w", row.Seq, row.Session, recorder.ErrTampered)
	}
	var out []event
	for line := range bytes.Lines(rest) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("browser chunk %d of session %s: %w", row.Seq, row.Session, recorder.ErrTampered)
		}
		out = append(out, e)
	}
	return out, nil
}

func (s *Service) data(ctx context.Context, row chunkRow) ([]byte, error) {
	data, err := s.blobs.Get(ctx, row.Blob)
	if err != nil {
		return nil, err
	}
	if digest(data) != row.SHA256 {
		return nil, fmt.Errorf("browser chunk %d of session %s: %w", row.Seq, row.Session, recorder.ErrTampered)
	}
	return data, nil
}

// Chunk is one stored part of what a browser told.
type Chunk struct {
	Seq    int64     `json:"seq"`
	SHA256 string    `json:"sha256"`
	Prev   string    `json:"prev,omitempty"`
	Page   uuid.UUID `json:"page"`
	N      int64     `json:"n"`
	Bytes  int64     `json:"bytes"`
	Events int64     `json:"events"`
	Masked int64     `json:"masked"`
	Record uuid.UUID `json:"record"`
	At     time.Time `json:"at"`
}

// Chunks lists the parts of what a session's browser told, in the order of the ledger.
func (s *Service) Chunks(ctx context.Context, session uuid.UUID) ([]Chunk, error) {
	rows, err := chunks(ctx, s.k.DB().Read(), session)
	out := make([]Chunk, len(rows))
	for i, r := range rows {
		out[i] = Chunk{r.Seq, r.SHA256, r.Prev, r.Page, r.N, r.Bytes, r.Events, r.Masked, r.Record, r.At.Time()}
	}
	return out, err
}

// ChunkData reads one of them, byte for byte. ErrNotFound: there is none any more;
// recorder.ErrTampered: there is another.
func (s *Service) ChunkData(ctx context.Context, session uuid.UUID, seq int64) ([]byte, error) {
	rows, err := chunks(ctx, s.k.DB().Read(), session)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.Seq == seq {
			return s.data(ctx, r)
		}
	}
	return nil, fmt.Errorf("browser chunk %d of session %s: %w", seq, session, governance.ErrNotFound)
}

// Event is one line of what a browser told.
type Event struct {
	N    int       `json:"n"` // within its page, from 1
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Page is one page as its browser told of it.
type Page struct {
	ID     uuid.UUID `json:"id"`
	Path   string    `json:"path"`
	At     time.Time `json:"at"` // when the server sent it
	State  string    `json:"state"`
	Events []Event   `json:"events"`
	Gaps   []string  `json:"gaps"`
}

// Replay is what a session's browser told, laid beside the ledger. None of it is proof
// of what was on the screen: a browser can be made to say anything.
type Replay struct {
	Pages    []Page   `json:"pages"`
	Chunks   int      `json:"chunks"`
	Masked   int64    `json:"masked"`
	Problems []string `json:"problems"` // where what is stored is not what the ledger knows
}

type anchor struct {
	Action  string `json:"action"`
	Session string `json:"session"`
	Data    struct {
		Seq    int64  `json:"seq"`
		SHA256 string `json:"sha256"`
		Prev   string `json:"prev"`
		Chunks int64  `json:"browser_chunks"`
		Chunk  string `json:"browser_chunk"`
	} `json:"data"`
	id uuid.UUID
}

// sound reads a session's chunks and tells which are what the ledger says. Only those
// are replayed.
func (s *Service) sound(ctx context.Context, have oversight.Session) (good map[uuid.UUID][]chunkRow, all []chunkRow, bad map[uuid.UUID][]string, problems []string, err error) {
	good, bad, problems = map[uuid.UUID][]chunkRow{}, map[uuid.UUID][]string{}, []string{}
	if all, err = chunks(ctx, s.k.DB().Read(), have.ID); err != nil {
		return
	}
	records, err := s.records(ctx, have)
	if err != nil {
		return
	}
	known, end := map[int64]anchor{}, anchor{}
	for _, a := range records {
		switch a.Action {
		case ActionChunk:
			if _, twice := known[a.Data.Seq]; twice {
				problems = append(problems, fmt.Sprintf("the ledger has browser chunk %d twice", a.Data.Seq))
			}
			known[a.Data.Seq] = a
		case "impersonation.end":
			end = a
		}
	}
	fault := func(page uuid.UUID, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		problems, bad[page] = append(problems, text), append(bad[page], text)
	}
	prev := ""
	for _, row := range all {
		a, anchored := known[row.Seq]
		delete(known, row.Seq)
		_, rerr := s.read(ctx, row)
		switch {
		case !anchored:
			fault(row.Page, "browser chunk %d: the ledger knows nothing of it", row.Seq)
		case a.Data.SHA256 != row.SHA256 || a.Data.Prev != row.Prev || a.id != row.Record || row.Prev != prev:
			fault(row.Page, "browser chunk %d: the ledger says something else", row.Seq)
		case errors.Is(rerr, recorder.ErrTampered):
			fault(row.Page, "browser chunk %d: its bytes are not those that were recorded", row.Seq)
		case errors.Is(rerr, governance.ErrNotFound):
			fault(row.Page, "browser chunk %d is missing", row.Seq)
		case rerr != nil:
			err = rerr
			return
		default:
			good[row.Page] = append(good[row.Page], row)
		}
		prev = row.SHA256
	}
	for seq := range known {
		fault(uuid.Nil, "the ledger knows of a browser chunk %d that is not there", seq)
	}
	if last := int64(len(all)); have.State == oversight.StateEnded && (end.Data.Chunks != last || last > 0 && end.Data.Chunk != prev) {
		fault(uuid.Nil, "the session ended with %d browser chunks, there are %d", end.Data.Chunks, last)
	}
	return
}

// Replay reads what a session's browser told.
func (s *Service) Replay(ctx context.Context, session uuid.UUID) (Replay, error) {
	have, err := s.over.Session(ctx, session)
	if err != nil {
		return Replay{}, err
	}
	good, all, bad, problems, err := s.sound(ctx, have)
	if err != nil {
		return Replay{}, err
	}
	rows, err := pages(ctx, s.k.DB().Read(), session)
	if err != nil {
		return Replay{}, err
	}
	out := Replay{Pages: []Page{}, Chunks: len(all), Problems: problems}
	for _, r := range all {
		out.Masked += r.Masked
	}
	for _, p := range rows {
		page := Page{ID: p.ID, Path: p.Path, At: p.IssuedAt.Time(), State: p.State, Events: []Event{}, Gaps: append([]string{}, bad[p.ID]...)}
		events, err := s.events(ctx, good[p.ID])
		if err != nil {
			return out, err
		}
		for i, e := range events {
			page.Events = append(page.Events, Event{i + 1, time.UnixMilli(e.At).UTC(), e.what()})
		}
		over := have.State == oversight.StateEnded
		switch {
		case p.State == pageIssued && (over || p.Told):
			page.Gaps = append(page.Gaps, "The browser told nothing of this page")
		case p.Told:
			page.Gaps = append(page.Gaps, "The browser fell silent on this page")
		case p.State == pageGone, p.State == pageOpen && over && have.EndedAt.Sub(p.SeenAt.Time()) >= s.opts.LostAfter:
			page.Gaps = append(page.Gaps, "What was last on this page is missing")
		}
		if p.Lost > 0 {
			page.Gaps = append(page.Gaps, fmt.Sprintf("%d parts of it never came", p.Lost))
		}
		out.Pages = append(out.Pages, page)
	}
	return out, nil
}

func (s *Service) events(ctx context.Context, rows []chunkRow) ([]event, error) {
	var out []event
	for _, row := range rows {
		events, err := s.read(ctx, row)
		if err != nil {
			return nil, err
		}
		out = append(out, events...)
	}
	return out, nil
}

// Page draws a page as it stood after its n-th event, for [recorder.ReplayPolicy]: it
// has no script.
func (s *Service) Page(ctx context.Context, session, page uuid.UUID, n int) (string, error) {
	have, err := s.over.Session(ctx, session)
	if err != nil {
		return "", err
	}
	good, _, _, _, err := s.sound(ctx, have)
	if err != nil {
		return "", err
	}
	events, err := s.events(ctx, good[page])
	if err != nil {
		return "", err
	}
	if n < 1 || n > len(events) {
		return "", fmt.Errorf("event %d of page %s: %w", n, page, governance.ErrNotFound)
	}
	c := newChecker(s.masks)
	for _, e := range events[:n] {
		if _, _, err := c.event(e); err != nil {
			return "", fmt.Errorf("page %s: %w", page, errors.Join(err, recorder.ErrTampered))
		}
	}
	return c.render()
}

// what says an event in words, for the table.
func (e event) what() string {
	switch e.Type {
	case evReady:
		return "The document was there"
	case evLoad:
		return "It was loaded"
	case evSnapshot:
		return "The whole page"
	case evMeta:
		m, _ := into[metaData](e.Data)
		return fmt.Sprintf("Opened %s, %.0f by %.0f", m.Href, m.Width, m.Height)
	}
	src, _ := into[source](e.Data)
	switch src.Source {
	case srcMutation:
		m, _ := into[mutation](e.Data)
		return fmt.Sprintf("Changed: %d added, %d removed, %d texts, %d attributes", len(m.Adds), len(m.Removes), len(m.Texts), len(m.Attrs))
	case srcMouseMove, srcTouchMove, srcDrag:
		return "Pointer moved"
	case srcInteraction:
		i, _ := into[interaction](e.Data)
		if names := []string{"Button released", "Button pressed", "Clicked", "Menu opened", "Clicked twice", "Went into a field", "Left a field", "Touched", "Touch moved", "Touch ended", "Touch cancelled"}; i.Type >= 0 && i.Type < len(names) {
			return names[i.Type]
		}
		return "Pointer used"
	case srcScroll:
		return "Scrolled"
	case srcResize:
		return "Window resized"
	case srcInput:
		return "Typed or chose, masked"
	case srcMedia:
		return "Played or stopped something"
	case srcSelection:
		return "Selected text"
	}
	return "Something else"
}
