package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	flog "github.com/transparency-dev/formats/log"
	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// Options tunes a Log. The zero value is ready to use.
type Options struct {
	Logger *slog.Logger
	Poll   time.Duration // longest wait of Run without a Wake; default 500ms
	Batch  int64         // most records sealed in one commit; default 1000
	Late   time.Duration // a receipt without a leaf for longer is reported; default 5s
	OnLate func(count int64)
}

// Log seals records and proves them. Use [New].
type Log struct {
	db       *govdb.DB
	signer   note.Signer
	verifier note.Verifier
	vkey     string
	opts     Options
	owner    string
	wake     chan struct{}

	mu       sync.Mutex
	expected map[uuid.UUID]time.Time // receipts given out by this process, not yet seen sealed
}

// GenerateKey makes a signing key and the verification key that goes with it, in
// the note form of C2SP. name is the log's origin, such as "reeve.example/eu".
func GenerateKey(name string) (skey, vkey string, err error) {
	return note.GenerateKey(rand.Reader, name)
}

// VerifierKey derives the verification key from a signing key.
func VerifierKey(skey string) (string, error) { return verifierOf(skey) }

// New makes a Log that signs with skey; see [GenerateKey].
func New(db *govdb.DB, skey string, opts *Options) (*Log, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Batch == 0 {
		o.Batch = 1000
	}
	if o.Late == 0 {
		o.Late = 5 * time.Second
	}
	signer, err := note.NewSigner(strings.TrimSpace(skey))
	if err != nil {
		return nil, errors.New("ledger: the signing key does not parse") // the library's error would echo the key
	}
	vkey, err := verifierOf(skey)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("ledger: verification key: %w", err)
	}
	return &Log{db: db, signer: signer, verifier: verifier, vkey: vkey, opts: o, owner: uuid.NewString(),
		wake: make(chan struct{}, 1), expected: map[uuid.UUID]time.Time{}}, nil
}

// VerifierKey is the key that others check this log's checkpoints with.
func (l *Log) VerifierKey() string { return l.vkey }

// Origin is the log's name, the first line of its checkpoints.
func (l *Log) Origin() string { return l.signer.Name() }

// Wake makes Run look at once. It never blocks.
func (l *Log) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Expect remembers a receipt given out after its commit: when its record has no
// leaf after Options.Late, somebody removed it before it was sealed.
func (l *Log) Expect(r Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected[r.ID] = l.db.Now()
}

// Run seals until ctx ends: within Options.Poll of a commit at the latest, at once
// after a Wake.
func (l *Log) Run(ctx context.Context) {
	checked := time.Now()
	for ctx.Err() == nil {
		n, err := l.Seal(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, govdb.ErrRetry) {
			l.opts.Logger.ErrorContext(ctx, "seal the ledger", "error", err)
		}
		if time.Since(checked) > l.opts.Late/5 {
			checked = time.Now()
			if err := l.checkLate(ctx); err != nil && ctx.Err() == nil {
				l.opts.Logger.ErrorContext(ctx, "look for late records", "error", err)
			}
		}
		if err == nil && n > 0 {
			// Gather for a moment: a checkpoint per record would cost a commit each.
			select {
			case <-ctx.Done():
			case <-time.After(l.opts.Poll / 5):
			}
			continue
		}
		t := time.NewTimer(l.opts.Poll)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

func (l *Log) checkLate(ctx context.Context) error {
	before := l.db.Now().Add(-l.opts.Late)
	late, err := l.db.Read().NewSelect().Model((*recordRow)(nil)).Where("n IS NULL AND at < ?", govdb.At(before)).Count(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	var due []uuid.UUID
	for id, at := range l.expected {
		if at.Before(before) && len(due) < 500 {
			due = append(due, id)
			delete(l.expected, id)
		}
	}
	l.mu.Unlock()
	if len(due) > 0 {
		here, err := l.db.Read().NewSelect().Model((*recordRow)(nil)).Where("id IN (?)", bun.List(due)).Count(ctx)
		if err != nil {
			return err
		}
		late += int64(len(due)) - here
	}
	if late > 0 && l.opts.OnLate != nil {
		l.opts.OnLate(late)
	}
	return nil
}

// Seal numbers the records that have no leaf, in the order of their ids, extends
// the tree and signs a checkpoint, all in one commit, and says how many. Another
// server sealing at the moment makes it 0.
func (l *Log) Seal(ctx context.Context) (int, error) {
	waiting, err := l.db.Read().NewSelect().Model((*recordRow)(nil)).Where("n IS NULL").Exists(ctx)
	if err != nil || !waiting {
		return 0, err
	}
	n := 0
	err = l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		n = 0
		held, ok, err := lease.AcquireTx(ctx, tx, "ledger.seal", l.owner, 10*time.Second)
		if err != nil || !ok {
			return err
		}
		if n, err = l.sealTx(ctx, tx); err != nil {
			return err
		}
		return lease.CheckTx(ctx, tx, held)
	})
	return n, err
}

type hashRow struct {
	bun.BaseModel `bun:"table:gov_hash"`

	Idx  int64  `bun:"idx,pk"`
	Hash []byte `bun:"hash"`
}

type checkpointRow struct {
	bun.BaseModel `bun:"table:gov_checkpoint"`

	Size int64        `bun:"size,pk"`
	Root []byte       `bun:"root"`
	Note string       `bun:"note"`
	At   govdb.Micros `bun:"at"`
}

func (l *Log) sealTx(ctx context.Context, tx *govdb.Tx) (int, error) {
	var rows []recordRow
	if err := tx.NewSelect().Model(&rows).Column("id", "body").Where("n IS NULL").Order("id").Limit(l.opts.Batch).Scan(ctx); err != nil {
		return 0, fmt.Errorf("records without a leaf: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	tree := &hashes{ctx: ctx, db: tx, fresh: map[int64]tlog.Hash{}}
	size, err := l.checkedSize(ctx, tx, tree)
	if err != nil {
		return 0, err
	}
	for i := range rows {
		n := size + int64(i)
		rows[i].N = &n
		stored, err := tlog.StoredHashesForRecordHash(n, tlog.RecordHash([]byte(rows[i].Body)), tree)
		if err != nil {
			return 0, fmt.Errorf("hashes of leaf %d: %w", n, err)
		}
		tree.add(n, stored)
	}
	if err := l.place(ctx, tx, rows); err != nil {
		return 0, fmt.Errorf("number %d records: %w", len(rows), err)
	}
	if err := govdb.InsertAll(ctx, tx, tree.rows); err != nil {
		return 0, fmt.Errorf("insert hashes: %w", err)
	}
	return len(rows), l.signTx(ctx, tx, tree, size+int64(len(rows)))
}

// place writes the leaves' numbers: in one statement where each costs a round trip.
func (l *Log) place(ctx context.Context, tx *govdb.Tx, rows []recordRow) error {
	if l.db.Postgres() {
		values := tx.NewValues(&rows).Column("id", "n")
		_, err := tx.NewUpdate().With("_data", values).Model((*recordRow)(nil)).TableExpr("_data").Set("n = _data.n").Where("record_row.id = _data.id").Exec(ctx)
		return err
	}
	args := make([][]any, len(rows))
	for i, row := range rows {
		args[i] = []any{row.N, row.ID}
	}
	return tx.ExecAll(ctx, "UPDATE gov_record SET n = ? WHERE id = ?", args...)
}

// checkedSize is the size of the tree, after making sure that what is stored still
// has the root that was signed last.
func (l *Log) checkedSize(ctx context.Context, tx bun.IDB, tree *hashes) (int64, error) {
	var size int64
	if err := tx.NewRaw("SELECT COALESCE(MAX(n) + 1, 0) FROM gov_record WHERE n IS NOT NULL").Scan(ctx, &size); err != nil {
		return 0, fmt.Errorf("size: %w", err)
	}
	var last checkpointRow
	err := tx.NewSelect().Model(&last).Order("size DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		if size != 0 {
			return 0, fmt.Errorf("%d leaves and no checkpoint: %w", size, ErrForked)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("last checkpoint: %w", err)
	}
	if last.Size != size {
		return 0, fmt.Errorf("%d leaves, last checkpoint of %d: %w", size, last.Size, ErrForked)
	}
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return 0, fmt.Errorf("root of %d: %w", size, err)
	}
	if string(root[:]) != string(last.Root) {
		return 0, ErrForked
	}
	return size, nil
}

func (l *Log) signTx(ctx context.Context, tx *govdb.Tx, tree *hashes, size int64) error {
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return fmt.Errorf("root of %d: %w", size, err)
	}
	text := flog.Checkpoint{Origin: l.Origin(), Size: uint64(size), Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, l.signer)
	if err != nil {
		return fmt.Errorf("sign the checkpoint of %d: %w", size, err)
	}
	row := &checkpointRow{Size: size, Root: root[:], Note: string(signed), At: govdb.At(l.db.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("checkpoint of %d: %w", size, err)
	}
	return nil
}

// hashes reads stored hashes, the fresh ones from memory.
type hashes struct {
	ctx   context.Context
	db    bun.IDB
	fresh map[int64]tlog.Hash
	rows  []*hashRow
}

func (h *hashes) add(n int64, stored []tlog.Hash) {
	first := tlog.StoredHashIndex(0, n)
	for i, s := range stored {
		h.fresh[first+int64(i)] = s
		h.rows = append(h.rows, &hashRow{Idx: first + int64(i), Hash: append([]byte(nil), s[:]...)})
	}
}

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var want []int64
	for i, x := range indexes {
		if s, ok := h.fresh[x]; ok {
			out[i] = s
		} else {
			want = append(want, x)
		}
	}
	if len(want) == 0 {
		return out, nil
	}
	var rows []hashRow
	if err := h.db.NewSelect().Model(&rows).Where("idx IN (?)", bun.List(want)).Scan(h.ctx); err != nil {
		return nil, fmt.Errorf("read hashes: %w", err)
	}
	for _, r := range rows {
		if len(r.Hash) != tlog.HashSize {
			return nil, fmt.Errorf("hash %d has %d bytes: %w", r.Idx, len(r.Hash), ErrForked)
		}
		h.fresh[r.Idx] = tlog.Hash(r.Hash)
	}
	for i, x := range indexes {
		s, ok := h.fresh[x]
		if !ok {
			return nil, fmt.Errorf("hash %d is missing: %w", x, ErrForked)
		}
		out[i] = s
	}
	return out, nil
}
