package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// CheckpointOf is the checkpoint of exactly so many records; ErrNotFound where none was
// signed of that size.
func (l *Log) CheckpointOf(ctx context.Context, size int64) (Checkpoint, error) {
	var rows []checkpointRow
	if err := l.db.Read().NewSelect().Model(&rows).Where("size = ?", size).Scan(ctx); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d: %w", size, err)
	}
	if len(rows) == 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d: %w", size, ErrNotFound)
	}
	return Checkpoint{rows[0].Size, rows[0].Note, rows[0].At.Time()}, nil
}

// Told is how far a witness or a sink is: of which size it knows, and since when a
// larger one is there, zero when it knows the newest.
type Told struct {
	Name   string // the witness's key, the sink's name
	Size   int64
	At     time.Time
	Times  int64 // checkpoints that a witness signed
	Behind time.Time
}

// CosignedBy says how far each witness is that ever signed.
func (l *Log) CosignedBy(ctx context.Context) ([]Told, error) {
	return l.told(ctx, "cosignatures", "SELECT witness AS name, MAX(size) AS size, MAX(at) AS at, COUNT(*) AS times FROM gov_cosignature GROUP BY witness ORDER BY witness")
}

// PublishedTo says how far each sink is that was ever told.
func (l *Log) PublishedTo(ctx context.Context) ([]Told, error) {
	return l.told(ctx, "publications", "SELECT sink AS name, size, at, 1 AS times FROM gov_publication ORDER BY sink")
}

func (l *Log) told(ctx context.Context, what, query string) ([]Told, error) {
	var rows []struct {
		Name   string
		Size   int64
		At     govdb.Micros
		Times  int64
		Behind govdb.Micros
	}
	q := "SELECT t.name, t.size, t.at, t.times, COALESCE((SELECT MIN(c.at) FROM gov_checkpoint AS c WHERE c.size > t.size), 0) AS behind FROM (" + query + ") AS t ORDER BY t.name"
	if err := l.db.Read().NewRaw(q).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out := make([]Told, len(rows))
	for i, r := range rows {
		out[i] = Told{Name: r.Name, Size: r.Size, At: r.At.Time(), Times: r.Times}
		if r.Behind > 0 {
			out[i].Behind = r.Behind.Time()
		}
	}
	return out, nil
}

// CosignedSize is a checkpoint with the keys of the witnesses that signed it.
type CosignedSize struct {
	Size      int64
	At        time.Time
	Witnesses []string
}

// Checkpoints lists checkpoints, the largest first, those below a size when it is not 0.
func (l *Log) Checkpoints(ctx context.Context, below, limit int64) ([]CosignedSize, error) {
	var rows []checkpointRow
	q := l.db.Read().NewSelect().Model(&rows).Order("size DESC").Limit(max(1, min(limit, 200)))
	if below > 0 {
		q = q.Where("size < ?", below)
	}
	if err := q.Scan(ctx); err != nil || len(rows) == 0 {
		return nil, wrap("checkpoints", err)
	}
	var signed []cosignatureRow
	if err := l.db.Read().NewSelect().Model(&signed).Where("size <= ? AND size >= ?", rows[0].Size, rows[len(rows)-1].Size).Order("size", "witness").Scan(ctx); err != nil {
		return nil, fmt.Errorf("cosignatures: %w", err)
	}
	by := map[int64][]string{}
	for _, s := range signed {
		by[s.Size] = append(by[s.Size], s.Witness)
	}
	out := make([]CosignedSize, len(rows))
	for i, r := range rows {
		out[i] = CosignedSize{r.Size, r.At.Time(), by[r.Size]}
	}
	return out, nil
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// KeyUse is a key of the log and what it signed.
type KeyUse struct {
	Key   string
	Since int64     // records there were when it began
	Until int64     // records there were when it ended; -1 for the one that signs now
	Ended time.Time // zero for the one that signs now
	// Next is how it was handed over: "rotated", or "renewed" after a head was lost.
	Next string
}

// KeyHistory lists the keys that the log has had, the oldest first.
func (l *Log) KeyHistory(ctx context.Context) ([]KeyUse, error) {
	rows, err := l.keyRows(ctx, l.db.Read())
	if err != nil {
		return nil, err
	}
	var out []KeyUse
	since := int64(0)
	for _, r := range rows {
		s, err := offline.ParseSuccession([]byte(r.Statement))
		if err != nil {
			return nil, fmt.Errorf("keys of the log: the statement of %s: %w", r.VKey, err)
		}
		u := KeyUse{Key: r.VKey, Since: since, Until: r.Since, Ended: r.At.Time(), Next: "rotated"}
		if s.Lost != "" {
			u.Next = "renewed"
		}
		out, since = append(out, u), r.Since
	}
	return append(out, KeyUse{Key: l.vkey, Since: since, Until: -1}), nil
}

// SubjectKeys is whom personal values are kept about, under how many keys.
type SubjectKeys struct {
	Subject   string
	Keys      int64 // in use
	Values    int64 // that can be read with them
	Since     time.Time
	Destroyed time.Time // when keys of it were destroyed last; zero when never
}

// Subjects lists whom personal values are about, by name, those of one record alone left
// out, after a name; prefix narrows them.
func (l *Log) Subjects(ctx context.Context, prefix, after string, limit int64) ([]SubjectKeys, error) {
	var rows []struct {
		Subject string
		Keys    int64
		Vals    int64
		Since   govdb.Micros
		Gone    govdb.Micros
	}
	like := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(prefix) + "%"
	err := l.db.Read().NewRaw(`SELECT p.subject, p.keys, p.since, p.gone,
			(SELECT COUNT(*) FROM gov_subject_key AS k JOIN gov_disclosure AS d ON d.key_id = k.id WHERE k.subject = p.subject AND k.destroyed_at IS NULL) AS vals
		FROM (SELECT subject, SUM(CASE WHEN destroyed_at IS NULL THEN 1 ELSE 0 END) AS keys, MIN(at) AS since, COALESCE(MAX(destroyed_at), 0) AS gone
			FROM gov_subject_key WHERE subject > ? AND subject LIKE ? ESCAPE '\' AND subject NOT LIKE 'record:%'
			GROUP BY subject ORDER BY subject LIMIT ?) AS p ORDER BY p.subject`, after, like, max(1, min(limit, 200))).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("keys of personal values: %w", err)
	}
	out := make([]SubjectKeys, len(rows))
	for i, r := range rows {
		out[i] = SubjectKeys{Subject: r.Subject, Keys: r.Keys, Values: r.Vals, Since: r.Since.Time()}
		if r.Gone > 0 {
			out[i].Destroyed = r.Gone.Time()
		}
	}
	return out, nil
}

// SubjectOf counts what is kept about one subject, a record's own too.
func (l *Log) SubjectOf(ctx context.Context, subject string) (SubjectKeys, error) {
	out := SubjectKeys{Subject: subject}
	var since, gone govdb.Micros
	err := l.db.Read().NewRaw(`SELECT COALESCE(SUM(CASE WHEN destroyed_at IS NULL THEN 1 ELSE 0 END), 0), COALESCE(MIN(at), 0), COALESCE(MAX(destroyed_at), 0),
		(SELECT COUNT(*) FROM gov_subject_key AS k JOIN gov_disclosure AS d ON d.key_id = k.id WHERE k.subject = ? AND k.destroyed_at IS NULL)
		FROM gov_subject_key WHERE subject = ?`, subject, subject).Scan(ctx, &out.Keys, &since, &gone, &out.Values)
	if err != nil {
		return out, fmt.Errorf("keys of %s: %w", subject, err)
	}
	if since > 0 {
		out.Since = since.Time()
	}
	if gone > 0 {
		out.Destroyed = gone.Time()
	}
	if id, ok := strings.CutPrefix(subject, recordPrefix); ok && out.Keys == 0 { // values older than keys
		if record, err := uuid.Parse(id); err == nil {
			if err := l.db.Read().NewRaw("SELECT COUNT(*) FROM gov_disclosure WHERE record = ? AND key_id IS NULL", record).Scan(ctx, &out.Values); err != nil {
				return out, fmt.Errorf("values of %s: %w", subject, err)
			}
		}
	}
	return out, nil
}

// ErasureRecord is a record under which values were erased.
type ErasureRecord struct {
	Record Record
	Values int64
}

// Erasures lists the records under which values were erased, the newest first, those
// before an id when it is not nil.
func (l *Log) Erasures(ctx context.Context, before uuid.UUID, limit int64) ([]ErasureRecord, error) {
	var rows []struct {
		Record uuid.UUID
		Vals   int64
	}
	if before == uuid.Nil {
		before = uuid.Max
	}
	if err := l.db.Read().NewRaw("SELECT record, COUNT(*) AS vals FROM gov_erasure WHERE record < ? GROUP BY record ORDER BY record DESC LIMIT ?", before, max(1, min(limit, 200))).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("erasures: %w", err)
	}
	out := make([]ErasureRecord, len(rows))
	for i, r := range rows {
		rec, err := l.Record(ctx, r.Record)
		if err != nil {
			return nil, fmt.Errorf("erasures: %w", err)
		}
		out[i] = ErasureRecord{rec, r.Vals}
	}
	return out, nil
}
