package retention

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

const (
	settingRevision = "revision" // of rules and policies: a plan is bound to it
	settingEpoch    = "epoch"    // of holds: a batch is fenced by it
	settingPaused   = "paused"
)

func settingOf(ctx context.Context, db bun.IDB, key string) (int64, error) {
	var v []int64
	if err := db.NewRaw("SELECT value FROM retention_setting WHERE key = ?", key).Scan(ctx, &v); err != nil {
		return 0, fmt.Errorf("retention setting %s: %w", key, err)
	}
	if len(v) == 0 {
		return 0, nil
	}
	return v[0], nil
}

func bumpTx(ctx context.Context, tx *governance.Tx, key string) (int64, error) {
	var v int64
	err := tx.NewRaw(`INSERT INTO retention_setting (key, value) VALUES (?, 1)
		ON CONFLICT (key) DO UPDATE SET value = retention_setting.value + 1 RETURNING value`, key).Scan(ctx, &v)
	if err != nil {
		return 0, fmt.Errorf("retention setting %s: %w", key, err)
	}
	return v, nil
}

type ruleRow struct {
	bun.BaseModel `bun:"table:retention_rule"`

	ID           string       `bun:"id,pk"`
	Version      int          `bun:"version,pk"`
	Jurisdiction string       `bun:"jurisdiction"`
	Class        string       `bun:"class"`
	Body         string       `bun:"body"`
	Active       bool         `bun:"active"`
	EditedBy     string       `bun:"edited_by"`
	CreatedAt    govdb.Micros `bun:"created_at"`
}

func (r ruleRow) version() (RuleVersion, error) {
	v := RuleVersion{Version: r.Version, EditedBy: governance.PersonID(r.EditedBy), At: r.CreatedAt.Time()}
	if err := json.Unmarshal([]byte(r.Body), &v.Rule); err != nil {
		return v, fmt.Errorf("rule %s version %d: %w", r.ID, r.Version, err)
	}
	return v, nil
}

type policyRow struct {
	bun.BaseModel `bun:"table:retention_policy"`

	ID        string       `bun:"id,pk"`
	Version   int          `bun:"version,pk"`
	Class     string       `bun:"class"`
	Scope     string       `bun:"scope"`
	Body      string       `bun:"body"`
	Active    bool         `bun:"active"`
	EditedBy  string       `bun:"edited_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

func (r policyRow) version() (PolicyVersion, error) {
	v := PolicyVersion{Version: r.Version, EditedBy: governance.PersonID(r.EditedBy), At: r.CreatedAt.Time()}
	if err := json.Unmarshal([]byte(r.Body), &v.Policy); err != nil {
		return v, fmt.Errorf("policy %s version %d: %w", r.ID, r.Version, err)
	}
	return v, nil
}

type holdRow struct {
	bun.BaseModel `bun:"table:retention_hold"`

	ID          string       `bun:"id,pk"`
	Matter      string       `bun:"matter"`
	Reason      string       `bun:"reason"`
	Selector    string       `bun:"selector"`
	PlacedBy    string       `bun:"placed_by"`
	PlacedAt    govdb.Micros `bun:"placed_at"`
	ReleasedBy  string       `bun:"released_by"`
	ReleasedAt  govdb.Micros `bun:"released_at"`
	ReleasedFor string       `bun:"released_for"`
}

func newHoldRow(h Hold) (*holdRow, error) {
	sel, err := json.Marshal(h.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector: %w", err)
	}
	return &holdRow{ID: h.ID.String(), Matter: h.Matter, Reason: h.Reason, Selector: string(sel), PlacedBy: h.PlacedBy, PlacedAt: govdb.At(h.PlacedAt)}, nil
}

func (r holdRow) hold() (Hold, error) {
	id, err := governance.ParseID[Hold](r.ID)
	if err != nil {
		return Hold{}, fmt.Errorf("stored hold %q: %w", r.ID, err)
	}
	h := Hold{ID: id, Matter: r.Matter, Reason: r.Reason, PlacedBy: r.PlacedBy, PlacedAt: r.PlacedAt.Time(),
		ReleasedBy: r.ReleasedBy, ReleasedAt: r.ReleasedAt.Time(), ReleasedFor: r.ReleasedFor}
	if err := json.Unmarshal([]byte(r.Selector), &h.Selector); err != nil {
		return h, fmt.Errorf("hold %s: %w", r.ID, err)
	}
	return h, nil
}

func holdsOf(rows []holdRow) ([]Hold, error) {
	out := make([]Hold, 0, len(rows))
	for _, r := range rows {
		h, err := r.hold()
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

func readHold(ctx context.Context, db bun.IDB, id governance.ID[Hold]) (Hold, error) {
	var row holdRow
	if err := db.NewSelect().Model(&row).Where("id = ?", id.String()).Scan(ctx); err != nil {
		return Hold{}, holdNotFound(id, err)
	}
	return row.hold()
}

type planRow struct {
	bun.BaseModel `bun:"table:retention_plan"`

	ID        string       `bun:"id,pk"`
	Source    string       `bun:"source"`
	Class     string       `bun:"class"`
	AsOf      govdb.Micros `bun:"as_of"`
	Revision  int64        `bun:"revision"`
	Planned   int64        `bun:"planned"`
	Digest    string       `bun:"digest"`
	Body      string       `bun:"body"`
	Approval  string       `bun:"approval"`
	CreatedBy string       `bun:"created_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type chunkRow struct {
	bun.BaseModel `bun:"table:retention_chunk"`

	Plan   string `bun:"plan,pk"`
	Seq    int    `bun:"seq,pk"`
	Action string `bun:"action"`
	Keys   string `bun:"keys"` // one key a line
	N      int    `bun:"n"`
}

type runRow struct {
	bun.BaseModel `bun:"table:retention_run"`

	ID           string       `bun:"id,pk"`
	Plan         string       `bun:"plan"`
	Source       string       `bun:"source"`
	State        string       `bun:"state"`
	Planned      int64        `bun:"planned"`
	Deleted      int64        `bun:"deleted"`
	Anonymised   int64        `bun:"anonymised"`
	Held         int64        `bun:"held"`
	Changed      int64        `bun:"changed"`
	Failed       int64        `bun:"failed"`
	Related      int64        `bun:"related"`
	Batches      int          `bun:"batches"`
	Chunks       int          `bun:"chunks"`
	Secret       string       `bun:"secret"`
	Salt         string       `bun:"salt"`
	Cancel       string       `bun:"cancel"`
	Tries        int          `bun:"tries"`
	Error        string       `bun:"error"`
	RequestedBy  string       `bun:"requested_by"`
	Evidence     string       `bun:"evidence"`
	EvidenceHash string       `bun:"evidence_hash"`
	StartedAt    govdb.Micros `bun:"started_at"`
	MovedAt      govdb.Micros `bun:"moved_at"`
	EndedAt      govdb.Micros `bun:"ended_at"`
}

func (r runRow) counts() Counts {
	return Counts{Planned: r.Planned, Deleted: r.Deleted, Anonymised: r.Anonymised, Held: r.Held, Changed: r.Changed, Failed: r.Failed, Related: r.Related}
}

type batchRow struct {
	bun.BaseModel `bun:"table:retention_batch"`

	Run    string `bun:"run,pk"`
	Seq    int    `bun:"seq,pk"`
	Body   string `bun:"body"`
	Record string `bun:"record"`
}

type itemRow struct {
	bun.BaseModel `bun:"table:retention_item"`

	Run     string `bun:"run,pk"`
	Seq     int    `bun:"seq,pk"`
	Pos     int    `bun:"pos,pk"`
	Key     string `bun:"key"`
	Outcome string `bun:"outcome"`
	Reason  string `bun:"reason"`
}

func pageLimit(n int) int64 {
	switch {
	case n <= 0:
		return 50
	case n > 1000:
		return 1000
	}
	return int64(n)
}
