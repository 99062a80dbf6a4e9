package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

var (
	// ErrNotFound says that there is no such record, or that it has no leaf yet.
	ErrNotFound = errors.New("ledger: not found")
	// ErrForked says that the stored tree and its last checkpoint disagree; nothing is
	// signed then.
	ErrForked = errors.New("ledger: the stored tree does not match its last checkpoint")
	// ErrSucceeded says that the log goes on under another key than the one at hand.
	ErrSucceeded = errors.New("ledger: the log has another key since")
	// ErrBadProof says that a proof does not hold.
	ErrBadProof = offline.ErrBadProof
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "ledger", FS: files}
	}
	return govdb.Schema{Name: "ledger", FS: sub}
}

// MaxBody is the most bytes of one record, the limit of a C2SP tile's entry.
const MaxBody = 65535

// Entry is a record to append.
type Entry struct {
	ID          uuid.UUID // version 7: records are sealed in the order of ids
	Tenant      string    // what the body's member "tenant" says
	Kind        string
	Body        []byte // canonical JSON
	At          time.Time
	Disclosures []Disclosure
}

// Receipt says what was appended: whoever keeps it can later demand the leaf.
type Receipt struct {
	ID     uuid.UUID
	Digest [32]byte // SHA-256 of the body
	At     time.Time
}

// Disclosure is a personal value whose salted digest stands in a record's body.
type Disclosure = offline.Disclosure

// NewDisclosure salts a value with 128 random bits, because a plain hash of an
// address or a name is found by trying. subject is whom it is about, as an opaque id.
func NewDisclosure(field, value, subject string) Disclosure {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails
	return Disclosure{Field: field, Value: value, Salt: salt, Subject: subject}
}

type recordRow struct {
	bun.BaseModel `bun:"table:gov_record"`

	ID     uuid.UUID    `bun:"id,pk,type:uuid"`
	N      *int64       `bun:"n"`
	Tenant string       `bun:"tenant"`
	Kind   string       `bun:"kind"`
	Body   string       `bun:"body"`
	Digest []byte       `bun:"digest"`
	At     govdb.Micros `bun:"at"`
}

type disclosureRow struct {
	bun.BaseModel `bun:"table:gov_disclosure"`

	Record uuid.UUID  `bun:"record,pk"`
	Field  string     `bun:"field,pk"`
	Salt   []byte     `bun:"salt"`  // of values that are older than keys
	Value  string     `bun:"value"` // as well
	KeyID  *uuid.UUID `bun:"key_id,type:uuid"`
	Sealed []byte     `bun:"sealed"`
}

// Append writes entries in tx's commit, in one statement with those of the callers
// that share it. What is wrong with an entry is found here, so that it cannot
// spoil the others' commit.
//
// On SQLite, where one writer holds the lock until the commit, the records become
// leaves in that commit, and only the signature comes after it. On PostgreSQL that
// would make each writer wait for the one before, and [Log.Seal] does it afterwards.
func (l *Log) Append(ctx context.Context, tx *govdb.Tx, es ...Entry) ([]Receipt, error) {
	out := make([]Receipt, len(es))
	for i, e := range es {
		if err := e.validate(); err != nil {
			return nil, fmt.Errorf("ledger: entry %d: %w", i, err)
		}
		out[i] = Receipt{e.ID, sha256.Sum256(e.Body), e.At}
		row := &recordRow{ID: e.ID, Tenant: e.Tenant, Kind: e.Kind, Body: string(e.Body), Digest: out[i].Digest[:], At: govdb.At(e.At)}
		if err := tx.Defer(ctx, "gov_record", flushRecords, row); err != nil {
			return nil, err
		}
		if err := l.sealValuesTx(ctx, tx, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e Entry) validate() error {
	switch {
	case e.ID == uuid.Nil || e.Kind == "" || e.At.IsZero():
		return errors.New("ID, Kind and At are required")
	case len(e.Body) == 0 || len(e.Body) > MaxBody:
		return fmt.Errorf("the body has %d bytes, want 1 to %d", len(e.Body), MaxBody)
	case !utf8.Valid(e.Body) || !json.Valid(e.Body):
		return errors.New("the body is not JSON in UTF-8")
	case offline.TenantOf(e.Body) != e.Tenant:
		return fmt.Errorf("the body speaks of tenant %q, the entry of %q", offline.TenantOf(e.Body), e.Tenant)
	case strings.ContainsRune(e.Tenant, 0) || strings.ContainsRune(e.Kind, 0) || bytes.IndexByte(e.Body, 0) >= 0:
		return errors.New("it contains U+0000")
	}
	for _, d := range e.Disclosures {
		if d.Field == "" || len(d.Salt) < 16 || !utf8.ValidString(d.Value) || strings.ContainsRune(d.Value, 0) {
			return fmt.Errorf("disclosure %q is not valid", d.Field)
		}
	}
	return nil
}

func flushRecords(ctx context.Context, tx *govdb.Tx, items []any) error {
	rows := make([]*recordRow, len(items))
	for i, it := range items {
		rows[i] = it.(*recordRow)
	}
	if !tx.DB().Postgres() {
		size, err := treeSize(ctx, tx)
		if err != nil {
			return err
		}
		if err := grow(ctx, tx, newHashes(ctx, tx), size, rows); err != nil {
			return err
		}
	}
	return govdb.InsertAll(ctx, tx, rows)
}
