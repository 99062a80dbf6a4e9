package browserrec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

// Report is what a browser sends of a page: events with a number, or number 0 and none
// as a sign of life.
type Report struct {
	Page   uuid.UUID `json:"page"`
	Tab    string    `json:"tab"`
	N      int64     `json:"n"`
	State  string    `json:"state"` // open, hidden or closed
	Lost   int64     `json:"lost"`  // events that the browser had to drop
	Events []event   `json:"events"`
}

var tabForm = regexp.MustCompile(`^[0-9a-zA-Z-]{1,40}$`)

func readReport(raw []byte) (Report, error) {
	var r Report
	d := json.NewDecoder(bytes.NewReader(raw))
	if d.Decode(&r) != nil || d.More() {
		return r, governance.Invalid("body", "is not a report of a browser")
	}
	switch {
	case r.N < 0 || r.N > 1<<31:
		return r, governance.Invalid("n", "is not the number of a chunk")
	case r.N == 0 && (len(r.Events) > 0 || r.Lost != 0):
		return r, governance.Invalid("n", "is 0, and there are events")
	case r.Lost < 0 || r.Lost > 1<<31:
		return r, governance.Invalid("lost", "is not a number of events")
	case r.State != pageOpen && r.State != pageHidden && r.State != pageClosed:
		return r, governance.Invalid("state", "is not open, hidden or closed")
	case !tabForm.MatchString(r.Tab):
		return r, governance.Invalid("tab", "is not the name of a tab")
	}
	return r, nil
}

func (s *Service) lane(session uuid.UUID) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[session]
	if l == nil {
		l = &lane{pages: map[uuid.UUID]*follow{}}
		s.lanes[session] = l
	}
	l.used = s.k.Now()
	return l
}

// allow counts a call against the rate of its session.
func (l *lane) allow(now time.Time, size int) bool {
	if now.Sub(l.since) >= rateWindow || now.Before(l.since) {
		l.since, l.calls, l.bytes = now, 0, 0
	}
	l.calls++
	l.bytes += int64(size)
	return l.calls <= rateCalls && l.bytes <= rateBytes
}

// Take checks, masks and stores a report of a session's browser. The same chunk again
// is fine; another one of a number that was taken is [governance.ErrConflict]; a
// session that is over is [governance.ErrNotFound]. A session that waits for the
// report goes on.
func (s *Service) Take(ctx context.Context, have oversight.Session, id governance.Identity, raw []byte) error {
	if len(raw) > maxUpload {
		return governance.Invalid("body", "has more than %d bytes", maxUpload)
	}
	rep, err := readReport(raw)
	if err != nil {
		return err
	}
	l := s.lane(have.ID)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.allow(s.k.Now(), len(raw)) {
		return fmt.Errorf("session %s: %w", have.ID, ErrRate)
	}
	for try := 0; ; try++ {
		err := s.take(ctx, l, have, id, rep, digest(raw))
		if err == nil || try == 9 || !governance.IsUnique(err) && !errors.Is(err, governance.ErrRetry) {
			if err != nil {
				return err
			}
			break
		}
		delete(l.pages, rep.Page)
	}
	return s.resume(ctx, have)
}

func (s *Service) take(ctx context.Context, l *lane, have oversight.Session, id governance.Identity, rep Report, hash string) error {
	var found []pageRow
	if err := s.k.DB().Handle().NewSelect().Model(&found).Where("id = ? AND session = ?", rep.Page, have.ID).Scan(ctx); err != nil {
		return fmt.Errorf("page of session %s: %w", have.ID, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("page %s: %w", rep.Page, governance.ErrNotFound)
	}
	p := found[0]
	switch {
	case rep.N == 0 || rep.N == p.N && hash == p.LastHash:
		return s.alive(ctx, have, p, rep)
	case rep.N <= p.N:
		return fmt.Errorf("chunk %d of page %s was taken: %w", rep.N, p.ID, governance.ErrConflict)
	case p.State == pageClosed: // the last words of one that is gone may come late
		return fmt.Errorf("page %s was left: %w", p.ID, governance.ErrConflict)
	}
	f, err := s.follow(ctx, l, p)
	if err != nil {
		return err
	}
	delete(l.pages, p.ID) // until the commit: what was checked and not stored never was
	f.c.masked, f.c.dropped = 0, 0
	var lines []byte
	kept := int64(0)
	for i, e := range rep.Events {
		out, ok, err := f.c.event(e)
		if err != nil {
			return governance.Invalid(fmt.Sprintf("events[%d]", i), "%s", err.Error())
		}
		if !ok {
			continue
		}
		line, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("chunk of page %s: %w", p.ID, err)
		}
		lines = append(append(lines, line...), '\n')
		kept++
	}
	row := &chunkRow{Session: have.ID, Seq: 1, Page: p.ID, N: rep.N, Lost: rep.N - p.N - 1 + rep.Lost, Events: kept, Masked: f.c.masked, At: govdb.At(s.k.Now())}
	if err := s.store(ctx, have, id, p, rep, row, lines, hash, f.c.dropped); err != nil {
		return err
	}
	f.n = rep.N
	if rep.State != pageClosed && len(l.pages) < 20 {
		l.pages[p.ID] = f
	}
	return nil
}

// chunkHead is the first line of a chunk.
type chunkHead struct {
	Kind    string    `json:"kind"`
	Session uuid.UUID `json:"session"`
	Seq     int64     `json:"seq"`
	Prev    string    `json:"prev"`
	Page    uuid.UUID `json:"page"`
	N       int64     `json:"n"`
}

const chunkKind = "reeve/browser/v1"

func (s *Service) store(ctx context.Context, have oversight.Session, id governance.Identity, p pageRow, rep Report, row *chunkRow, lines []byte, hash string, dropped int64) error {
	rows, err := chunks(ctx, s.k.DB().Handle(), have.ID)
	if err != nil {
		return err
	}
	total := int64(len(lines))
	for _, r := range rows {
		total += r.Bytes
		row.Seq, row.Prev = r.Seq+1, r.SHA256
	}
	if total > s.opts.MaxSession {
		return fmt.Errorf("session %s: more than %d bytes: %w", have.ID, s.opts.MaxSession, ErrRate)
	}
	head, err := json.Marshal(chunkHead{chunkKind, have.ID, row.Seq, row.Prev, row.Page, row.N})
	if err != nil {
		return fmt.Errorf("chunk of page %s: %w", p.ID, err)
	}
	data := append(append(head, '\n'), lines...)
	row.SHA256, row.Bytes = digest(data), int64(len(data))
	row.Blob = fmt.Sprintf("%s/browser/%06d-%s.ndjson", have.ID, row.Seq, strings.TrimPrefix(row.SHA256, "sha256:")[:16])
	if err := s.blobs.Put(ctx, row.Blob, data); err != nil {
		return err
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.over.LiveTx(ctx, tx, have.ID); err != nil {
			return err
		}
		receipt, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: ActionChunk, Tenant: have.Tenant, Resource: governance.RefTo("session", have.ID), ActionID: have.ID,
			Outcome: governance.OutcomeObserved, Data: map[string]any{"seq": row.Seq, "sha256": row.SHA256, "prev": row.Prev, "bytes": row.Bytes, "page": row.Page, "n": row.N,
				"events": row.Events, "lost": row.Lost, "masked": row.Masked, "dropped": dropped}})
		if err != nil {
			return err
		}
		row.Record = receipt.ID
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("browser chunk %d of %s: %w", row.Seq, have.ID, err)
		}
		res, err := tx.ExecContext(ctx, "UPDATE browserrec_page SET n = ?, last_hash = ?, lost = lost + ?, state = ?, tab = ?, seen_at = ? WHERE id = ? AND n = ?",
			row.N, hash, row.Lost, rep.State, rep.Tab, row.At, p.ID, p.N)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(fmt.Errorf("page %s: %w", p.ID, governance.ErrRetry), err)
		}
		if err := supersedeTx(ctx, tx, p, rep); err != nil || row.Masked == 0 {
			return err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "impersonation.unmasked:" + have.ID.String(), Severity: governance.Warning, Tenant: have.Tenant,
			Title: "A browser sent values that it should have masked", Body: fmt.Sprintf("%d values were taken out before anything was stored. Either a page of the product is not understood, or somebody changed what the browser runs.", row.Masked),
			Links: []governance.Link{{Title: "Session", Kind: "session", ID: have.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

// supersedeTx closes the pages that this one took the place of in its tab.
func supersedeTx(ctx context.Context, tx *governance.Tx, p pageRow, rep Report) error {
	_, err := tx.ExecContext(ctx, "UPDATE browserrec_page SET state = ? WHERE session = ? AND tab = ? AND id <> ? AND issued_at <= ? AND state IN (?, ?)",
		pageGone, p.Session, rep.Tab, p.ID, p.IssuedAt, pageOpen, pageHidden)
	return err
}

// alive notes a sign of life.
func (s *Service) alive(ctx context.Context, have oversight.Session, p pageRow, rep Report) error {
	if p.State == pageClosed || p.State == pageGone {
		return nil
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.over.LiveTx(ctx, tx, have.ID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE browserrec_page SET state = ?, tab = ?, seen_at = ? WHERE id = ?", rep.State, rep.Tab, govdb.At(s.k.Now()), p.ID)
		return errors.Join(err, supersedeTx(ctx, tx, p, rep))
	})
}

// resume lets a session go on that waited for its browser, once no page is silent.
func (s *Service) resume(ctx context.Context, have oversight.Session) error {
	if have.State != oversight.StatePaused || have.PausedBy != oversight.ByBrowser {
		return nil
	}
	rows, err := pages(ctx, s.k.DB().Handle(), have.ID)
	if err != nil {
		return err
	}
	for i := range rows {
		if s.silent(rows, i, s.k.Now()) {
			return nil
		}
	}
	return s.over.Resume(ctx, have.ID, oversight.ByBrowser)
}

// follow gives the page as it stood after its last chunk, from memory or from what is
// stored.
func (s *Service) follow(ctx context.Context, l *lane, p pageRow) (*follow, error) {
	if f := l.pages[p.ID]; f != nil && f.n == p.N {
		return f, nil
	}
	var rows []chunkRow
	if err := s.k.DB().Handle().NewSelect().Model(&rows).Where("page = ?", p.ID).Order("n").Scan(ctx); err != nil {
		return nil, fmt.Errorf("chunks of page %s: %w", p.ID, err)
	}
	f := &follow{c: newChecker(s.masks), n: p.N}
	for _, row := range rows {
		events, err := s.read(ctx, row)
		if err != nil { // what follows is checked without it: unknown nodes are masked
			continue
		}
		for _, e := range events {
			if _, _, err := f.c.event(e); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}
