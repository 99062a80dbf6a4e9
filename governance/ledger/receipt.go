package ledger

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/note"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// expectation is a receipt whose leaf is looked for.
type expectation struct {
	id     uuid.UUID
	digest [32]byte
	at     time.Time
}

// mostExpected bounds what a process remembers that never runs [Log.Run]: the newest go
// unwatched then, and stay in the sinks that were told of them.
const mostExpected = 200_000

// Expect remembers a receipt given out after its commit: when its record has no
// leaf after Options.Late, somebody removed it before it was sealed. Everything that
// [Log.Tap] added is told of it.
func (l *Log) Expect(r Receipt) {
	l.mu.Lock()
	if len(l.expected) < mostExpected {
		l.expected = append(l.expected, expectation{r.ID, r.Digest, l.db.Now()})
	}
	taps := l.taps
	l.mu.Unlock()
	for _, tap := range taps {
		tap(r)
	}
}

// Tap has fn told of every receipt that this process gives out from now on, on the
// goroutine that committed: fn must be quick and never block.
func (l *Log) Tap(fn func(Receipt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taps = append(l.taps[:len(l.taps):len(l.taps)], fn)
}

// SignReceipts signs a batch of receipts as of now; see [offline.ParseReceipts].
func (l *Log) SignReceipts(stream string, first int64, end bool, rs []Receipt) ([]byte, error) {
	b := offline.ReceiptBatch{Origin: l.Origin(), Stream: stream, First: first, At: l.db.Now(), End: end}
	for _, r := range rs {
		b.Receipts = append(b.Receipts, offline.ReceiptLine{ID: r.ID.String(), Digest: r.Digest, At: r.At})
	}
	out, err := note.Sign(&note.Note{Text: b.Text()}, l.signer)
	if err != nil {
		return nil, fmt.Errorf("sign %d receipts: %w", len(rs), err)
	}
	return out, nil
}

// CheckLate looks once for records and receipts without a leaf after Options.Late and
// tells Options.OnLate; [Log.Run] does so every second.
func (l *Log) CheckLate(ctx context.Context) error {
	before := l.db.Now().Add(-l.opts.Late)
	var late int64
	if err := l.db.Read().NewRaw("SELECT (SELECT COUNT(*) FROM gov_record WHERE n IS NULL AND at < ?0) + (SELECT COUNT(*) FROM gov_record WHERE n >= "+signedSize+" AND at < ?0)",
		govdb.At(before)).Scan(ctx, &late); err != nil {
		return err
	}
	for {
		gone, more, err := l.missing(ctx, before)
		if err != nil {
			return err
		}
		late += gone
		if !more {
			break
		}
	}
	if late > 0 && l.opts.OnLate != nil {
		l.opts.OnLate(late)
	}
	return nil
}

// missing counts those of the oldest expectations whose record is not there as it was
// when the receipt was given out, and forgets them all.
func (l *Log) missing(ctx context.Context, before time.Time) (gone int64, more bool, err error) {
	l.mu.Lock()
	n := 0
	for n < len(l.expected) && n < 500 && l.expected[n].at.Before(before) {
		n++
	}
	due := append([]expectation{}, l.expected[:n]...)
	l.mu.Unlock()
	if n == 0 {
		return 0, false, nil
	}
	ids := make([]uuid.UUID, n)
	for i, e := range due {
		ids[i] = e.id
	}
	var rows []recordRow
	if err := l.db.Read().NewSelect().Model(&rows).Column("id", "digest").Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return 0, false, err
	}
	here := make(map[uuid.UUID][]byte, len(rows))
	for _, r := range rows {
		here[r.ID] = r.Digest
	}
	for _, e := range due {
		if !bytes.Equal(here[e.id], e.digest[:]) {
			gone++
		}
	}
	l.mu.Lock()
	l.expected = append(l.expected[:0:0], l.expected[n:]...)
	l.mu.Unlock()
	return gone, n == 500, nil
}
