package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// Record is a stored entry. N is its leaf, -1 while no checkpoint covers it.
type Record struct {
	ID          uuid.UUID       `json:"id"`
	N           int64           `json:"n"`
	Tenant      string          `json:"tenant,omitempty"`
	Kind        string          `json:"kind"`
	Body        json.RawMessage `json:"body"`
	At          time.Time       `json:"at"`
	Disclosures []Disclosure    `json:"disclosures,omitempty"`
}

func (r recordRow) record(signed int64) Record {
	out := Record{ID: r.ID, N: -1, Tenant: r.Tenant, Kind: r.Kind, Body: json.RawMessage(r.Body), At: r.At.Time()}
	if r.N != nil && *r.N < signed {
		out.N = *r.N
	}
	return out
}

// Filter selects records, newest first.
type Filter struct {
	Tenant     string // required, unless AllTenants
	AllTenants bool
	Search     string    // part of the body
	Before     uuid.UUID // the last id of the page before
	Limit      int64     // default 50, at most 200
}

// Records lists records, newest first, without their disclosures.
func (l *Log) Records(ctx context.Context, f Filter) ([]Record, error) {
	if f.Tenant == "" && !f.AllTenants { // forgetting the tenant must not mean every tenant
		return nil, errors.New("ledger: Tenant or AllTenants is required")
	}
	if f.Limit <= 0 {
		f.Limit = 50
	}
	var rows []recordRow
	q := l.db.Read().NewSelect().Model(&rows).Order("id DESC").Limit(min(f.Limit, 200))
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Search != "" {
		q = q.Where(`body LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Search)+"%")
	}
	if f.Before != uuid.Nil {
		q = q.Where("id < ?", f.Before)
	}
	signed, err := l.signed(ctx)
	if err != nil {
		return nil, err
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	out := make([]Record, len(rows))
	for i, r := range rows {
		out[i] = r.record(signed)
	}
	return out, nil
}

// signed is the size of the newest checkpoint. Read it before the records: it only
// grows.
func (l *Log) signed(ctx context.Context) (int64, error) {
	var size int64
	if err := l.db.ReadRow(ctx, "SELECT "+signedSize).Scan(&size); err != nil {
		return 0, fmt.Errorf("last checkpoint: %w", err)
	}
	return size, nil
}

// Record reads one record with its disclosures.
func (l *Log) Record(ctx context.Context, id uuid.UUID) (Record, error) {
	signed, err := l.signed(ctx)
	if err != nil {
		return Record{}, err
	}
	var row recordRow
	err = l.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, fmt.Errorf("record %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Record{}, fmt.Errorf("record %s: %w", id, err)
	}
	out := row.record(signed)
	var ds []disclosureRow
	if err := l.db.Read().NewSelect().Model(&ds).Where("record = ?", id).Order("field").Scan(ctx); err != nil {
		return out, fmt.Errorf("disclosures of %s: %w", id, err)
	}
	open, err := openAll(ctx, l.db.Read(), ds, func(disclosureRow, error) {}) // Verify reports it
	out.Disclosures = open[id]
	return out, err
}

// Checkpoint is a signed head of the tree.
type Checkpoint struct {
	Size int64     `json:"size"`
	Note string    `json:"note"` // C2SP tlog-checkpoint, signed
	At   time.Time `json:"at"`
}

// Checkpoint is the newest one; ErrNotFound before the first seal.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	var row checkpointRow
	err := l.db.Read().NewSelect().Model(&row).Order("size DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", ErrNotFound)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return Checkpoint{row.Size, row.Note, row.At.Time()}, nil
}

// Proof shows offline that a record is in the log: see [VerifyProof].
type Proof = offline.Proof

// Prove proves a sealed record against the newest checkpoint.
func (l *Log) Prove(ctx context.Context, id uuid.UUID) (Proof, error) {
	r, err := l.Record(ctx, id)
	if err != nil {
		return Proof{}, err
	}
	if r.N < 0 {
		return Proof{}, fmt.Errorf("record %s has no leaf yet: %w", id, ErrNotFound)
	}
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return Proof{}, err
	}
	p, err := provePath(newHashes(ctx, l.db.Read()), c.Size, r.N)
	if err != nil {
		return Proof{}, fmt.Errorf("prove %s: %w", id, err)
	}
	p.Body, p.Checkpoint = string(r.Body), c.Note
	return p, nil
}

// provePath is a proof that lacks its body and its checkpoint.
func provePath(tree *hashes, size, n int64) (Proof, error) {
	path, err := tlog.ProveRecord(size, n, tree)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{N: n, Path: make([]string, len(path))}
	for i, h := range path {
		p.Path[i] = h.String()
	}
	return p, nil
}

// VerifyProof checks a proof with nothing but the log's verification key. Every
// failure is ErrBadProof.
func VerifyProof(vkey string, p Proof) error { return offline.VerifyProof(vkey, p) }

// Report is what Verify found.
type Report struct {
	Records     int64    `json:"records"`
	Checkpoints int64    `json:"checkpoints"`
	Unsealed    int64    `json:"unsealed"`
	Problems    []string `json:"problems"` // empty: everything stored is as it was signed
}

const maxProblems = 20

// Verify recomputes the whole tree from the bodies and compares every stored hash,
// checkpoint and disclosure with it. It reads one consistent snapshot. What it
// finds is in the report; an error means that it could not finish.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	rep := Report{Problems: []string{}}
	tx, err := l.db.Read().BeginTx(ctx, &sql.TxOptions{ReadOnly: l.db.Postgres(), Isolation: isolation(l.db)})
	if err != nil {
		return rep, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	keys, err := l.keysAt(ctx, tx)
	if err != nil {
		return rep, fmt.Errorf("verify: %w", err)
	}
	v := &verification{rep: &rep, log: l, keys: keys, heads: map[string]*offline.TenantHead{}, changed: map[string]bool{}}
	if err := tx.NewRaw("SELECT COUNT(*) FROM gov_record WHERE n IS NULL").Scan(ctx, &rep.Unsealed); err != nil {
		return rep, fmt.Errorf("verify: %w", err)
	}
	var checkpoints []checkpointRow
	if err := tx.NewSelect().Model(&checkpoints).Order("size").Scan(ctx); err != nil {
		return rep, fmt.Errorf("verify: checkpoints: %w", err)
	}
	for next := int64(0); len(rep.Problems) < maxProblems; {
		rows, err := readPage(ctx, tx, next)
		if err != nil {
			return rep, fmt.Errorf("verify: records: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		from, to := tlog.StoredHashIndex(0, next), tlog.StoredHashIndex(0, *rows[len(rows)-1].N+1)
		if err := v.stored.read(ctx, tx, from, to); err != nil {
			return rep, fmt.Errorf("verify: hashes: %w", err)
		}
		for _, r := range rows {
			if *r.N != next {
				v.problem("leaf %d is missing", next)
				return rep, nil
			}
			checkpoints = v.leaf(next, r, checkpoints)
			next++
		}
		if err := v.disclosures(ctx, tx, rows); err != nil {
			return rep, err
		}
		rep.Records = next
	}
	if err := v.storedSequences(ctx, tx); err != nil {
		return rep, err
	}
	for _, c := range checkpoints {
		v.problem("checkpoint of %d has no records behind it", c.Size)
	}
	switch {
	case v.last == rep.Records:
	case l.db.Postgres():
		v.problem("the last checkpoint is of %d, there are %d leaves", v.last, rep.Records)
	default: // leaves whose signature is still to come, within seconds
		rep.Unsealed += rep.Records - v.last
		rep.Records = v.last
		var from, to govdb.Micros
		if err := tx.NewRaw("SELECT MIN(at), MAX(at) FROM gov_record WHERE n >= ?", v.last).Scan(ctx, &from, &to); err != nil {
			return rep, fmt.Errorf("verify: %w", err)
		}
		if to.Time().Sub(from.Time()) > time.Minute {
			v.problem("the last checkpoint is of %d, and of the %d leaves after it the first is more than a minute older than the last", v.last, rep.Unsealed)
		}
	}
	return rep, nil
}

func isolation(db *govdb.DB) sql.IsolationLevel {
	if db.Postgres() {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// verification recomputes a tree leaf by leaf, keeping only its frontier.
type verification struct {
	rep      *Report
	log      *Log
	keys     []keySpan
	stored   page
	frontier []node
	last     int64
	heads    map[string]*offline.TenantHead
	changed  map[string]bool // tenants whose heads are not in the map yet
	tenants  *offline.TenantMap
}

type node struct {
	level int
	n     int64
	hash  tlog.Hash
}

func (v *verification) problem(format string, args ...any) {
	if len(v.rep.Problems) < maxProblems {
		v.rep.Problems = append(v.rep.Problems, fmt.Sprintf(format, args...))
	}
}

func (v *verification) leaf(n int64, r recordRow, checkpoints []checkpointRow) []checkpointRow {
	if sum := sha256.Sum256([]byte(r.Body)); string(sum[:]) != string(r.Digest) {
		v.problem("record %s (leaf %d) does not have its digest", r.ID, n)
	}
	leaf := tlog.RecordHash([]byte(r.Body))
	if tenant := offline.TenantOf([]byte(r.Body)); tenant != r.Tenant {
		v.problem("record %s (leaf %d) is filed under another tenant than it speaks of", r.ID, n)
	} else {
		v.follow(tenant, n, leaf)
	}
	v.push(node{0, n, leaf}, r.ID)
	for len(checkpoints) > 0 && checkpoints[0].Size == n+1 {
		v.checkpoint(checkpoints[0])
		checkpoints = checkpoints[1:]
	}
	return checkpoints
}

func (v *verification) push(x node, id uuid.UUID) {
	for {
		if have, ok := v.stored.at(tlog.StoredHashIndex(x.level, x.n)); !ok {
			v.problem("the hash of level %d, place %d is missing", x.level, x.n)
		} else if have != x.hash {
			if x.level == 0 {
				v.problem("record %s (leaf %d) is not what was sealed", id, x.n)
			} else {
				v.problem("the hash of level %d, place %d is wrong", x.level, x.n)
			}
		}
		if x.n%2 == 0 || len(v.frontier) == 0 {
			v.frontier = append(v.frontier, x)
			return
		}
		left := v.frontier[len(v.frontier)-1]
		v.frontier = v.frontier[:len(v.frontier)-1]
		x = node{x.level + 1, x.n / 2, tlog.NodeHash(left.hash, x.hash)}
	}
}

func (v *verification) checkpoint(c checkpointRow) {
	v.rep.Checkpoints++
	v.last = c.Size
	root := v.frontier[len(v.frontier)-1].hash
	for i := len(v.frontier) - 2; i >= 0; i-- {
		root = tlog.NodeHash(v.frontier[i].hash, root)
	}
	if string(root[:]) != string(c.Root) {
		v.problem("checkpoint of %d has another root than its records", c.Size)
		return
	}
	for len(v.keys) > 1 && c.Size > v.keys[0].until {
		v.keys = v.keys[1:]
	}
	signed, err := offline.ParseHead([]byte(c.Note), v.keys[0].vkey)
	if err != nil {
		v.problem("checkpoint of %d is not signed by this log's key", c.Size)
		return
	}
	if signed.Size != c.Size || string(signed.Root[:]) != string(c.Root) {
		v.problem("checkpoint of %d: the signed text says something else", c.Size)
	}
	v.sequences(c, signed)
}

// verifierOf derives the public half of a note signing key: the key's bytes are an
// algorithm byte, 1 for Ed25519, and the seed (golang.org/x/mod/sumdb/note).
func verifierOf(skey string) (string, error) {
	parts := strings.SplitN(strings.TrimSpace(skey), "+", 5)
	if len(parts) != 5 {
		return "", errors.New("ledger: the signing key does not parse")
	}
	key, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize || key[0] != 1 {
		return "", errors.New("ledger: the signing key is not Ed25519")
	}
	public, ok := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("ledger: the signing key is not Ed25519")
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}
