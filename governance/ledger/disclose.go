package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

// EraseTx removes the texts of a record's disclosures. Its body, leaf and proofs
// stay as they are: what is left of a value is a digest whose salt is gone.
func EraseTx(ctx context.Context, tx *govdb.Tx, record uuid.UUID) (int, error) {
	res, err := tx.ExecContext(ctx, "DELETE FROM gov_disclosure WHERE record = ?", record)
	if err != nil {
		return 0, fmt.Errorf("erase disclosures of %s: %w", record, err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// disclosures checks that every text still kept is the one its record speaks of.
func (v *verification) disclosures(ctx context.Context, db bun.IDB, rows []recordRow) error {
	ids := make([]uuid.UUID, len(rows))
	said := map[uuid.UUID]map[string]string{}
	for i, r := range rows {
		ids[i] = r.ID
		var body struct {
			Personal map[string]string `json:"personal"`
		}
		if json.Unmarshal([]byte(r.Body), &body) == nil {
			said[r.ID] = body.Personal
		}
	}
	for start := 0; start < len(ids); start += 500 {
		var ds []disclosureRow
		if err := db.NewSelect().Model(&ds).Where("record IN (?)", bun.List(ids[start:min(start+500, len(ids))])).Scan(ctx); err != nil {
			return fmt.Errorf("verify: disclosures: %w", err)
		}
		for _, d := range ds {
			if (Disclosure{d.Field, d.Value, d.Salt}).Digest() != said[d.Record][d.Field] {
				v.problem("record %s: the text kept for %s is not what the record speaks of", d.Record, d.Field)
			}
		}
	}
	return nil
}
