package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// ErrHalted says that nothing is signed because somebody outside knows another past of
// the log. It is an ErrForked as well.
var ErrHalted error = haltError("somebody knows another past")

type haltError string

func (e haltError) Error() string { return "ledger: nothing is signed any more: " + string(e) }

// Is makes every one of them an ErrHalted and an ErrForked.
func (e haltError) Is(target error) bool { return target == ErrHalted || target == ErrForked }

// ErrProven says that signing cannot be resumed: the log itself signed the other past,
// and can only go on under another name, by [Log.Succeed].
var ErrProven = errors.New("ledger: the other past is signed by this log: renew it under another name")

// Halt is why nothing is signed.
type Halt struct {
	Reason string    `json:"reason"`
	Proof  string    `json:"proof,omitempty"` // a head that this log's key signed; empty when it is another's word
	At     time.Time `json:"at"`
}

type haltRow struct {
	bun.BaseModel `bun:"table:gov_log_halt"`

	VKey   string       `bun:"vkey,pk"`
	Reason string       `bun:"reason"`
	Proof  string       `bun:"proof"`
	At     govdb.Micros `bun:"at"`
}

// Halt stops signing, in every process and until [Log.ResumeTx] or [Log.Succeed]:
// records go on being written, and wait. proof is the head that disagrees, when this
// log's key signed it; without, it is somebody's word, and reason says whose.
func (l *Log) Halt(ctx context.Context, reason string, proof []byte) error {
	row := &haltRow{VKey: l.vkey, Reason: reason, At: govdb.At(l.db.Now())}
	if len(proof) > 0 {
		if _, err := offline.ParseHead(proof, l.vkey); err != nil {
			return fmt.Errorf("ledger: halt: %w", err)
		}
		row.Proof = string(proof)
	}
	l.sealing.Lock() // what is being signed here comes to its end before
	defer l.sealing.Unlock()
	fresh := false
	err := l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		res, err := tx.NewInsert().Model(row).On("CONFLICT (vkey) DO UPDATE").Set("reason = EXCLUDED.reason").Set("proof = EXCLUDED.proof").
			Where("halt_row.proof = '' AND EXCLUDED.proof <> ''").Exec(ctx) // word gives way to proof
		if err != nil {
			return fmt.Errorf("stop signing: %w", err)
		}
		n, err := res.RowsAffected()
		fresh = n > 0
		return err
	})
	if err == nil && fresh {
		l.halted(ctx, Halt{Reason: reason, Proof: row.Proof, At: row.At.Time()})
	}
	return err
}

// Err is what is refused because of it.
func (h Halt) Err() error { return haltError(h.Reason) }

// Halted says why nothing is signed, nil when signing goes on.
func (l *Log) Halted(ctx context.Context) (*Halt, error) { return l.haltOf(ctx, l.db.Read()) }

// HaltedTx is [Log.Halted] as a transaction sees it.
func (l *Log) HaltedTx(ctx context.Context, tx *govdb.Tx) (*Halt, error) { return l.haltOf(ctx, tx) }

func (l *Log) haltOf(ctx context.Context, db bun.IDB) (*Halt, error) {
	var rows []haltRow
	if err := db.NewSelect().Model(&rows).Where("vkey = ?", l.vkey).Scan(ctx); err != nil {
		return nil, fmt.Errorf("whether signing is stopped: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &Halt{rows[0].Reason, rows[0].Proof, rows[0].At.Time()}, nil
}

// ResumeTx lets the log sign again after somebody's word stopped it that turned out to be
// wrong, and says what had. Whoever says the same again stops it again. ErrNotFound:
// it is not stopped; ErrProven: it is no mere word.
func (l *Log) ResumeTx(ctx context.Context, tx *govdb.Tx) (Halt, error) {
	h, err := l.haltOf(ctx, tx)
	if err != nil {
		return Halt{}, err
	}
	if h == nil {
		return Halt{}, fmt.Errorf("signing is not stopped: %w", ErrNotFound)
	}
	if h.Proof != "" {
		return *h, ErrProven
	}
	res, err := tx.NewDelete().Model((*haltRow)(nil)).Where("vkey = ? AND proof = ''", l.vkey).Exec(ctx)
	if err != nil {
		return *h, fmt.Errorf("resume signing: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return *h, errors.Join(err, ErrProven)
	}
	tx.AfterCommit(l.Wake)
	return *h, nil
}

// halted tells of what stopped signing, once while it is the same.
func (l *Log) halted(ctx context.Context, h Halt) {
	l.opts.Logger.ErrorContext(ctx, "the ledger signs nothing", "reason", h.Reason)
	if l.opts.OnHalt != nil {
		l.opts.OnHalt(h)
	}
}

// disagrees tells of a tree that is not what was signed, once while it is the same.
func (l *Log) disagrees(err error) {
	if !errors.Is(err, ErrForked) || l.opts.OnHalt == nil {
		return
	}
	l.mu.Lock()
	told := l.lastTold == err.Error()
	l.lastTold = err.Error()
	l.mu.Unlock()
	if !told {
		l.opts.OnHalt(Halt{Reason: err.Error(), At: l.db.Now()})
	}
}

// Saw compares the log with a head that it signed before, kept elsewhere. When the head
// is larger than what is stored, as after a restore, or of another past, signing stops
// until [Log.Succeed]. A head of the name that the log had before it was renewed is of
// another log.
func (l *Log) Saw(ctx context.Context, checkpoint []byte) error {
	keys, err := l.keysAt(ctx, l.db.Read())
	if err != nil {
		return err
	}
	var head offline.Head
	var by string
	for _, k := range slices.Backward(keys) {
		if head, err = offline.ParseHead(checkpoint, k.vkey); err == nil {
			by = k.vkey
			break
		}
	}
	if err != nil {
		return fmt.Errorf("ledger: the checkpoint kept elsewhere: %w", err)
	}
	if head.Origin != l.Origin() {
		return nil
	}
	var reason string
	signed, err := l.signed(ctx) // after the head was read elsewhere: what is published was committed before
	switch {
	case err != nil:
		return err
	case head.Size > signed:
		reason = fmt.Sprintf("a checkpoint of %d was published, the last one here is of %d", head.Size, signed)
	case head.Size > 0:
		root, err := tlog.TreeHash(head.Size, newHashes(ctx, l.db.Read()))
		if err != nil {
			return fmt.Errorf("root of %d: %w", head.Size, err)
		}
		if root != head.Root {
			reason = fmt.Sprintf("the published checkpoint of %d has another root than the records here", head.Size)
		}
	}
	if reason == "" {
		return nil
	}
	proof := checkpoint
	if by != l.vkey {
		proof, reason = nil, reason+", signed by the key that the log had before"
	}
	return l.Halt(ctx, reason, proof)
}
