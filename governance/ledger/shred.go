package ledger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// subjectKeyRow is a key of somebody whom personal values are about. A subject has
// several: who does not know of one makes another, which costs no round trip.
type subjectKeyRow struct {
	bun.BaseModel `bun:"table:gov_subject_key"`

	ID        uuid.UUID     `bun:"id,pk,type:uuid"`
	Subject   string        `bun:"subject"`
	Key       []byte        `bun:"key"` // nil once destroyed
	At        govdb.Micros  `bun:"at"`
	Destroyed *govdb.Micros `bun:"destroyed_at"`
}

// keyring remembers keys in use. One that was destroyed by another server is used for
// keyLife at most; what is sealed with it then can be read by nobody.
type keyring struct {
	mu   sync.Mutex
	keys map[string]ringKey
}

type ringKey struct {
	subjectKeyRow
	until time.Time
}

const (
	keyLife  = time.Minute
	ringSize = 4096
)

func (r *keyring) get(subject string, now time.Time) (subjectKeyRow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[subject]
	return k.subjectKeyRow, ok && now.Before(k.until)
}

func (r *keyring) put(k subjectKeyRow, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) >= ringSize {
		clear(r.keys)
	}
	r.keys[k.Subject] = ringKey{k, now.Add(keyLife)}
}

func (r *keyring) drop(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, subject)
}

// sealValuesTx puts an entry's personal values under their subjects' keys.
func (l *Log) sealValuesTx(ctx context.Context, tx *govdb.Tx, e Entry) error {
	fresh := map[string]subjectKeyRow{}
	for _, d := range e.Disclosures {
		subject := d.Subject
		if subject == "" {
			subject = RecordSubject(e.ID)
		}
		key, ok := l.ring.get(subject, l.db.Now())
		if !ok {
			key, ok = fresh[subject]
		}
		if !ok {
			key = subjectKeyRow{ID: uuid.Must(uuid.NewV7()), Subject: subject, Key: make([]byte, 32), At: govdb.At(l.db.Now())}
			_, _ = rand.Read(key.Key) // crypto/rand.Read never fails
			fresh[subject] = key
			if err := tx.Defer(ctx, "gov_subject_key", flushRows[subjectKeyRow], &key); err != nil {
				return err
			}
			if d.Subject != "" { // a record's own key is used once
				tx.AfterCommit(func() { l.ring.put(key, l.db.Now()) })
			}
		}
		sealed, err := sealDisclosure(key.Key, e.ID, d)
		if err != nil {
			return fmt.Errorf("seal disclosure %s: %w", d.Field, err)
		}
		row := &disclosureRow{Record: e.ID, Field: d.Field, Salt: []byte{}, KeyID: &key.ID, Sealed: sealed}
		if err := tx.Defer(ctx, "gov_disclosure", flushRows[disclosureRow], row); err != nil {
			return err
		}
	}
	return nil
}

// RecordSubject is the subject of values about whom nothing is known but the record
// they stand in.
func RecordSubject(record uuid.UUID) string { return recordPrefix + record.String() }

const recordPrefix = "record:"

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealDisclosure hides value and salt together: with the salt alone a name or an address
// could be found by trying.
func sealDisclosure(key []byte, record uuid.UUID, d Disclosure) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	if len(d.Salt) > 255 {
		return nil, errors.New("the salt is too long")
	}
	text := append(append([]byte{byte(len(d.Salt))}, d.Salt...), d.Value...)
	return a.Seal(nil, nil, text, append(record[:], d.Field...)), nil
}

func (r disclosureRow) open(key []byte) (Disclosure, error) {
	a, err := aead(key)
	if err != nil {
		return Disclosure{}, err
	}
	text, err := a.Open(nil, nil, r.Sealed, append(r.Record[:], r.Field...))
	if err != nil {
		return Disclosure{}, err
	}
	if len(text) == 0 || len(text) < 1+int(text[0]) {
		return Disclosure{}, errors.New("it is malformed")
	}
	n := 1 + int(text[0])
	return Disclosure{Field: r.Field, Value: string(text[n:]), Salt: text[1:n]}, nil
}

// openAll reads the values that still have their keys.
func openAll(ctx context.Context, db bun.IDB, rows []disclosureRow, bad func(r disclosureRow, err error)) (open map[uuid.UUID][]Disclosure, err error) {
	keys := map[uuid.UUID][]byte{}
	var want []uuid.UUID
	for _, r := range rows {
		if r.KeyID != nil {
			if _, ok := keys[*r.KeyID]; !ok {
				keys[*r.KeyID] = nil
				want = append(want, *r.KeyID)
			}
		}
	}
	found := map[uuid.UUID]bool{}
	for start := 0; start < len(want); start += 500 {
		var ks []subjectKeyRow
		if err := db.NewSelect().Model(&ks).Where("id IN (?)", bun.List(want[start:min(start+500, len(want))])).Scan(ctx); err != nil {
			return nil, fmt.Errorf("keys of personal values: %w", err)
		}
		for _, k := range ks {
			keys[k.ID], found[k.ID] = k.Key, true
		}
	}
	open = map[uuid.UUID][]Disclosure{}
	for _, r := range rows {
		d := Disclosure{Field: r.Field, Value: r.Value, Salt: r.Salt}
		if r.KeyID != nil {
			if key := keys[*r.KeyID]; key == nil {
				if !found[*r.KeyID] {
					bad(r, errors.New("its key is gone"))
				}
				continue
			} else if d, err = r.open(key); err != nil {
				bad(r, errors.New("it does not open with its key"))
				continue
			}
		}
		open[r.Record] = append(open[r.Record], d)
	}
	return open, nil
}

// Shredded says which personal values a destroyed key held.
type Shredded struct {
	Keys   int
	Fields []string // their digests, as records carry them
}

// ShredTx destroys every key of a subject. What was sealed with them stays in this
// database and in every copy of it as noise; records, leaves and proofs stay as they
// are. The caller records what was shredded in the same commit: see
// [offline.ErasedDigests].
func (l *Log) ShredTx(ctx context.Context, tx *govdb.Tx, subject string) (Shredded, error) {
	var out Shredded
	var rows []fieldOf
	err := tx.NewRaw(`SELECT d.field, r.body FROM gov_subject_key AS k JOIN gov_disclosure AS d ON d.key_id = k.id JOIN gov_record AS r ON r.id = d.record
		WHERE k.subject = ? AND k.destroyed_at IS NULL ORDER BY r.id, d.field`, subject).Scan(ctx, &rows)
	if err != nil {
		return out, fmt.Errorf("values of %s: %w", subject, err)
	}
	old, err := older(ctx, tx, subject)
	if err != nil {
		return out, err
	}
	rows = append(rows, old...)
	for _, r := range rows {
		if digest := offline.PersonalDigests([]byte(r.Body))[r.Field]; digest != "" {
			out.Fields = append(out.Fields, digest)
		}
	}
	res, err := tx.ExecContext(ctx, "UPDATE gov_subject_key SET key = NULL, destroyed_at = ? WHERE subject = ? AND destroyed_at IS NULL", govdb.At(l.db.Now()), subject)
	if err != nil {
		return out, fmt.Errorf("shred %s: %w", subject, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return out, fmt.Errorf("shred %s: %w", subject, err)
	}
	if n == 0 && len(old) == 0 {
		return out, fmt.Errorf("shred %s: there is no key: %w", subject, ErrNotFound)
	}
	out.Keys = int(n)
	tx.AfterCommit(func() { l.ring.drop(subject) })
	return out, nil
}

type fieldOf struct {
	Field string
	Body  string
}

// older deletes the values of a record that are older than keys and stand in clear. They
// are erased record by record: whom they are about was not kept.
func older(ctx context.Context, tx *govdb.Tx, subject string) ([]fieldOf, error) {
	text, ok := strings.CutPrefix(subject, recordPrefix)
	record, err := uuid.Parse(text)
	if !ok || err != nil {
		return nil, nil
	}
	var rows []fieldOf
	if err := tx.NewRaw("SELECT d.field, r.body FROM gov_disclosure AS d JOIN gov_record AS r ON r.id = d.record WHERE d.record = ? AND d.key_id IS NULL ORDER BY d.field", record).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("values of %s: %w", subject, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM gov_disclosure WHERE record = ? AND key_id IS NULL", record); err != nil {
		return nil, fmt.Errorf("values of %s: %w", subject, err)
	}
	return rows, nil
}

// Opened is a proof with the personal values that are still there, and with the proofs
// of the records by which others were erased.
type Opened = offline.Opened

// ProveOpened proves a record together with its personal values: give it to those who
// may know them.
func (l *Log) ProveOpened(ctx context.Context, id uuid.UUID) (Opened, error) {
	r, err := l.Record(ctx, id)
	if err != nil {
		return Opened{}, err
	}
	out := Opened{Disclosures: r.Disclosures}
	if out.Proof, err = l.Prove(ctx, id); err != nil {
		return out, err
	}
	missing := offline.PersonalDigests(r.Body)
	for _, d := range r.Disclosures {
		delete(missing, d.Field)
	}
	seen := map[uuid.UUID]bool{}
	for _, digest := range missing {
		var by []uuid.UUID
		err := l.db.Read().NewRaw("SELECT record FROM gov_erasure WHERE digest = ?", digest).Scan(ctx, &by)
		if err != nil {
			return out, fmt.Errorf("erasures of %s: %w", id, err)
		}
		for _, b := range by {
			p, err := l.Prove(ctx, b)
			if errors.Is(err, ErrNotFound) || seen[b] { // not sealed yet
				continue
			}
			if err != nil {
				return out, err
			}
			seen[b] = true
			out.Erasures = append(out.Erasures, p)
		}
	}
	return out, nil
}

type erasureRow struct {
	bun.BaseModel `bun:"table:gov_erasure"`

	Digest string    `bun:"digest,pk"`
	Record uuid.UUID `bun:"record,pk,type:uuid"`
}

// ErasedTx remembers by which record values were erased.
func ErasedTx(ctx context.Context, tx *govdb.Tx, record uuid.UUID, digests []string) error {
	rows := make([]*erasureRow, len(digests))
	for i, d := range digests {
		rows[i] = &erasureRow{Digest: d, Record: record}
	}
	return govdb.InsertAll(ctx, tx, rows)
}

func flushRows[T any](ctx context.Context, tx *govdb.Tx, items []any) error {
	rows := make([]*T, len(items))
	for i, it := range items {
		rows[i] = it.(*T)
	}
	return govdb.InsertAll(ctx, tx, rows)
}

// disclosures checks that every text still kept is the one its record speaks of.
func (v *verification) disclosures(ctx context.Context, db bun.IDB, rows []recordRow) error {
	ds, err := disclosuresOf(ctx, db, *rows[0].N, *rows[len(rows)-1].N+1)
	if err != nil {
		return fmt.Errorf("verify: disclosures: %w", err)
	}
	about := make(map[uuid.UUID]bool, len(ds))
	for _, d := range ds {
		about[d.Record] = true
	}
	said := make(map[uuid.UUID]map[string]string, len(about))
	for _, r := range rows {
		var body struct {
			Personal map[string]string `json:"personal"`
		}
		if about[r.ID] && json.Unmarshal([]byte(r.Body), &body) == nil {
			said[r.ID] = body.Personal
		}
	}
	open, err := openAll(ctx, db, ds, func(r disclosureRow, err error) {
		v.problem("record %s: the text kept for %s: %v", r.Record, r.Field, err)
	})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for record, list := range open {
		for _, d := range list {
			if d.Digest() != said[record][d.Field] {
				v.problem("record %s: the text kept for %s is not what the record speaks of", record, d.Field)
			}
		}
	}
	return nil
}
