package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// Succession says that a log goes on under another key; see [Log.Succeed].
type Succession = offline.Succession

type logKeyRow struct {
	bun.BaseModel `bun:"table:gov_log_key"`

	Since     int64        `bun:"since"`
	VKey      string       `bun:"vkey,pk"` // the key that the log had until then
	Statement string       `bun:"statement"`
	At        govdb.Micros `bun:"at"`
}

// Succeed ends this log's key and hands the log over to skey, by a statement that both
// sign. From the commit on this key signs nothing more, in no process: servers must
// be started anew with the new one.
//
// With the same name the key is rotated. After a restore a head that was published may
// be missing: then lost is that head, which this key signed, skey has another name,
// and the new log begins with the records that are here and commits to the head it
// lacks. record writes what happened in the same commit.
func (l *Log) Succeed(ctx context.Context, skey string, lost []byte, record func(ctx context.Context, tx *govdb.Tx, s Succession) error) (Succession, error) {
	next, err := note.NewSigner(strings.TrimSpace(skey))
	if err != nil {
		return Succession{}, errors.New("ledger: the new signing key does not parse")
	}
	s := Succession{From: l.vkey, Lost: string(lost)}
	if s.To, err = verifierOf(skey); err != nil {
		return s, err
	}
	if s.To == s.From {
		return s, errors.New("ledger: the new key is the one the log has")
	}
	var gone offline.Head
	switch {
	case len(lost) == 0 && next.Name() != l.Origin():
		return s, fmt.Errorf("ledger: the new key is of %q, the log of %q: another name is for a log that lost a head", next.Name(), l.Origin())
	case len(lost) > 0 && next.Name() == l.Origin():
		return s, errors.New("ledger: a log that lost a head goes on under another name: two heads of one size must not bear the same")
	case len(lost) > 0:
		if gone, err = offline.ParseHead(lost, l.vkey); err != nil {
			return s, fmt.Errorf("ledger: the lost checkpoint: %w", err)
		}
	}
	l.sealing.Lock()
	defer l.sealing.Unlock()
	var mine lease.Lease
	err = l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		held, ok, err := lease.AcquireTx(ctx, tx, "ledger.seal", l.owner, 10*time.Second)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("ledger: a server is sealing: stop every server and try again after ten seconds")
		}
		l.tenants = nil
		if len(lost) == 0 { // what is there is still signed by the key it came under
			if _, _, err := l.sealTx(ctx, tx, &tenants{}); err != nil {
				return err
			}
		} else if err := l.current(ctx, tx); err != nil {
			return err
		}
		if err := l.headTx(ctx, tx, &s, gone); err != nil {
			return err
		}
		signed, err := note.Sign(&note.Note{Text: s.Text()}, l.signer, next)
		if err != nil {
			return fmt.Errorf("sign the succession: %w", err)
		}
		row := &logKeyRow{Since: s.Size, VKey: l.vkey, Statement: string(signed), At: govdb.At(l.db.Now())}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("succession: %w", err)
		}
		if err := record(ctx, tx, s); err != nil {
			return err
		}
		mine = held
		return lease.CheckTx(ctx, tx, held)
	})
	if err != nil {
		return s, err
	}
	return s, lease.Release(ctx, l.db, mine) // the next key's server need not wait
}

// headTx puts the last head that is here into s.
func (l *Log) headTx(ctx context.Context, tx *govdb.Tx, s *Succession, gone offline.Head) error {
	var last []checkpointRow
	if err := tx.NewSelect().Model(&last).Order("size DESC").Limit(1).Scan(ctx); err != nil {
		return fmt.Errorf("last checkpoint: %w", err)
	}
	s.Size, s.Root = 0, tlog.Hash{}
	if len(last) > 0 {
		s.Size, s.Root = last[0].Size, tlog.Hash(last[0].Root)
	}
	if s.Lost == "" || gone.Size > s.Size {
		return nil
	}
	root := s.Root
	if gone.Size < s.Size {
		var err error
		if root, err = tlog.TreeHash(gone.Size, newHashes(ctx, tx)); err != nil {
			return fmt.Errorf("root of %d: %w", gone.Size, err)
		}
	}
	if root == gone.Root {
		return fmt.Errorf("ledger: the checkpoint of %d is not lost: its records are here", gone.Size)
	}
	return nil
}

// current refuses to go on when the log was handed over to another key.
func (l *Log) current(ctx context.Context, tx bun.IDB) error {
	var at int64
	if err := tx.NewRaw("SELECT COALESCE(MAX(since), -1) FROM gov_log_key WHERE vkey = ?", l.vkey).Scan(ctx, &at); err != nil {
		return fmt.Errorf("keys of the log: %w", err)
	}
	if at >= 0 {
		return fmt.Errorf("%w: it was handed over after %d records", ErrSucceeded, at)
	}
	return nil
}

// mayStillSign refuses to go on under a key that has ended or was stopped.
func (l *Log) mayStillSign(ctx context.Context, tx bun.IDB) error {
	if err := l.current(ctx, tx); err != nil {
		return err
	}
	h, err := l.haltOf(ctx, tx)
	if err == nil && h != nil {
		err = h.Err()
	}
	return err
}

// Keys is what [offline.KeysFile] holds: the statements by which the log went from one
// key to the next, oldest first.
func (l *Log) Keys(ctx context.Context) ([]byte, error) {
	rows, err := l.keyRows(ctx, l.db.Read())
	var out []byte
	for _, r := range rows {
		out = append(out, r.Statement...)
	}
	return out, err
}

func (l *Log) keyRows(ctx context.Context, db bun.IDB) ([]logKeyRow, error) {
	var rows []logKeyRow
	if err := db.NewSelect().Model(&rows).Order("since", "at").Scan(ctx); err != nil {
		return nil, fmt.Errorf("keys of the log: %w", err)
	}
	return rows, nil
}

// keySpan is a key and the largest size that it may have signed; 0 for the one that
// still signs.
type keySpan struct {
	vkey  string
	until int64
}

// keysAt lists the keys of the log by age, going back from the one at hand as far as
// statements lead.
func (l *Log) keysAt(ctx context.Context, db bun.IDB) ([]keySpan, error) {
	rows, err := l.keyRows(ctx, db)
	if err != nil {
		return nil, err
	}
	spans, key := []keySpan{{l.vkey, 0}}, l.vkey
	for _, r := range slices.Backward(rows) {
		s, err := offline.ParseSuccession([]byte(r.Statement))
		if err != nil || s.To != key {
			continue // what it should have vouched for is found unsigned
		}
		spans, key = append(spans, keySpan{s.From, s.Size}), s.From
	}
	slices.Reverse(spans)
	return spans, nil
}

// HandedOver is the key that the log of vkey was handed over to, empty when it was not.
func HandedOver(ctx context.Context, db *govdb.DB, vkey string) (string, error) {
	var rows []logKeyRow
	if err := db.Read().NewSelect().Model(&rows).Where("vkey = ?", vkey).Scan(ctx); err != nil {
		return "", fmt.Errorf("keys of the log: %w", err)
	}
	if len(rows) == 0 {
		return "", nil
	}
	s, err := offline.ParseSuccession([]byte(rows[0].Statement))
	if err != nil {
		return "", fmt.Errorf("keys of the log: %w", err)
	}
	return s.To, nil
}
