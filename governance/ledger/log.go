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
	OnHalt func(Halt) // signing stopped: somebody outside knows another past, or what is stored is not what was signed
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
	expected []expectation // receipts given out by this process, not yet seen sealed, oldest first
	taps     []func(Receipt)
	seen     int64  // the largest tree that this process has signed or found signed
	lastTold string // the disagreement that OnHalt was told of last

	ring    keyring
	sealing sync.Mutex
	held    lease.Lease
	catchUp int64    // most leaves that one seal adds to the tenants' sequences
	tenants *tenants // as they stand in the database; nil when that is not known
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
		wake: make(chan struct{}, 1), catchUp: catchUp, ring: keyring{keys: map[string]ringKey{}}}, nil
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

// Run seals until ctx ends: within Options.Poll of a commit at the latest, at once
// after a Wake.
func (l *Log) Run(ctx context.Context) {
	defer l.leave(context.WithoutCancel(ctx))
	checked := time.Now()
	for ctx.Err() == nil {
		n, err := l.Seal(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, govdb.ErrRetry) {
			l.opts.Logger.ErrorContext(ctx, "seal the ledger", "error", err)
			l.disagrees(err)
		}
		if time.Since(checked) > l.opts.Late/5 {
			checked = time.Now()
			if err := l.CheckLate(ctx); err != nil && ctx.Err() == nil {
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

// leave lets another server seal at once.
func (l *Log) leave(ctx context.Context) {
	l.sealing.Lock()
	defer l.sealing.Unlock()
	if l.held.Owner == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := lease.Release(ctx, l.db, l.held); err != nil {
		l.opts.Logger.WarnContext(ctx, "give the lease of the ledger back", "error", err)
	}
	l.held = lease.Lease{}
}

// signedSize is the size of the newest checkpoint, 0 before the first.
const signedSize = "COALESCE((SELECT MAX(size) FROM gov_checkpoint), 0)"

// Seal gives the records that have none their leaves, in the order of their ids, and
// signs a checkpoint over all leaves, in one commit; it says how many records the
// checkpoint adds. Another server sealing at the moment makes it 0. On SQLite records
// have their leaves already: see [Append].
func (l *Log) Seal(ctx context.Context) (int, error) {
	var waiting bool
	err := l.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM gov_record WHERE n IS NULL) OR EXISTS (SELECT 1 FROM gov_record WHERE n >= "+signedSize+")").Scan(ctx, &waiting)
	if err != nil || !waiting {
		return 0, err
	}
	n := 0
	var size int64
	l.sealing.Lock()
	defer l.sealing.Unlock()
	var t *tenants
	var held lease.Lease
	err = l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		n = 0
		var ok bool
		var err error
		held, ok, err = lease.AcquireTx(ctx, tx, "ledger.seal", l.owner, 10*time.Second)
		if err != nil || !ok {
			held = lease.Lease{}
			return err
		}
		t, l.tenants = l.tenants, nil // what a transaction that fails leaves here is not what is stored
		if t == nil {
			t = &tenants{}
		}
		if n, size, err = l.sealTx(ctx, tx, t); err != nil {
			return err
		}
		return lease.CheckTx(ctx, tx, held)
	})
	if err != nil {
		return 0, err
	}
	l.tenants, l.held = t, held
	l.mu.Lock()
	l.seen = max(l.seen, size)
	l.mu.Unlock()
	return n, nil
}

type checkpointRow struct {
	bun.BaseModel `bun:"table:gov_checkpoint"`

	Size int64        `bun:"size,pk"`
	Root []byte       `bun:"root"`
	Note string       `bun:"note"`
	At   govdb.Micros `bun:"at"`
}

// sealTx says how many records it added to what is signed, and of what size that is.
func (l *Log) sealTx(ctx context.Context, tx *govdb.Tx, t *tenants) (added int, size int64, err error) {
	tree := newHashes(ctx, tx)
	signed, size, err := l.checkedSize(ctx, tx, tree)
	if err != nil {
		return 0, 0, err
	}
	var rows []*recordRow
	if err := tx.NewSelect().Model(&rows).Column("id", "tenant", "body").Where("n IS NULL").Order("id").Limit(l.opts.Batch).Scan(ctx); err != nil {
		return 0, 0, fmt.Errorf("records without a leaf: %w", err)
	}
	if len(rows) > 0 {
		if err := grow(ctx, tx, tree, size, rows); err != nil {
			return 0, 0, err
		}
		if err := l.place(ctx, tx, rows); err != nil {
			return 0, 0, fmt.Errorf("number %d records: %w", len(rows), err)
		}
		size += int64(len(rows))
	}
	if size == signed {
		return 0, size, nil
	}
	if err := t.advance(ctx, tx, tree, size, l.catchUp, rows); err != nil {
		return 0, 0, err
	}
	return int(size - signed), size, l.signTx(ctx, tx, tree, size, t)
}

// place writes the leaves' numbers: in one statement where each costs a round trip.
func (l *Log) place(ctx context.Context, tx *govdb.Tx, rows []*recordRow) error {
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

// checkedSize is how many leaves the last checkpoint signed and how many there are,
// after making sure that what is stored still has the root that was signed.
func (l *Log) checkedSize(ctx context.Context, tx bun.IDB, tree *hashes) (signed, size int64, err error) {
	if err := l.mayStillSign(ctx, tx); err != nil {
		return 0, 0, err
	}
	if size, err = treeSize(ctx, tx); err != nil {
		return 0, 0, err
	}
	var last checkpointRow
	err = tx.NewSelect().Model(&last).Order("size DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		if size != 0 && l.db.Postgres() {
			return 0, 0, fmt.Errorf("%d leaves and no checkpoint: %w", size, ErrForked)
		}
		return 0, size, l.grown(0)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("last checkpoint: %w", err)
	}
	if size < last.Size || size > last.Size && l.db.Postgres() { // there leaves and checkpoints come together
		return 0, 0, fmt.Errorf("%d leaves, last checkpoint of %d: %w", size, last.Size, ErrForked)
	}
	root, err := tlog.TreeHash(last.Size, tree)
	if err != nil {
		return 0, 0, fmt.Errorf("root of %d: %w", last.Size, err)
	}
	if string(root[:]) != string(last.Root) {
		return 0, 0, ErrForked
	}
	return last.Size, size, l.grown(last.Size)
}

// grown refuses a tree that was larger when this process saw it last: a signature
// would let another one grow in its place.
func (l *Log) grown(signed int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if signed < l.seen {
		return fmt.Errorf("the last checkpoint is of %d, it was of %d: %w", signed, l.seen, ErrForked)
	}
	l.seen = signed
	return nil
}

func (l *Log) signTx(ctx context.Context, tx *govdb.Tx, tree *hashes, size int64, t *tenants) error {
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return fmt.Errorf("root of %d: %w", size, err)
	}
	text := flog.Checkpoint{Origin: l.Origin(), Size: uint64(size), Hash: root[:]}.Marshal()
	if t.covered == size {
		text = append(text, t.all.Extension()+"\n"...)
	}
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
