package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

type cosignatureRow struct {
	bun.BaseModel `bun:"table:gov_cosignature"`

	Size    int64        `bun:"size,pk"`
	Witness string       `bun:"witness,pk"`
	Line    string       `bun:"line"`
	At      govdb.Micros `bun:"at"`
}

// Cosign keeps a witness's signature of a checkpoint of this log. witness is its key;
// line, as add-checkpoint answers it, is checked against it.
func (l *Log) Cosign(ctx context.Context, c Checkpoint, witness, line string) error {
	head, err := offline.ParseHead([]byte(c.Note+line), l.vkey, witness)
	if err != nil {
		return fmt.Errorf("cosignature of %d: %w", c.Size, err)
	}
	if len(head.Cosigned) != 1 || len(head.Unchecked) != 0 || head.Size != c.Size {
		return fmt.Errorf("cosignature of %d: it is not one signature by %s", c.Size, witness)
	}
	row := &cosignatureRow{Size: c.Size, Witness: witness, Line: line, At: govdb.At(l.db.Now())}
	return l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		if _, err := tx.NewInsert().Model(row).On("CONFLICT (size, witness) DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("cosignature of %d: %w", c.Size, err)
		}
		return nil
	})
}

// Cosigned is the size of the newest checkpoint that a witness signed, 0 when none.
func (l *Log) Cosigned(ctx context.Context, witness string) (int64, error) {
	var size int64
	if err := l.db.Read().NewRaw("SELECT COALESCE(MAX(size), 0) FROM gov_cosignature WHERE witness = ?", witness).Scan(ctx, &size); err != nil {
		return 0, fmt.Errorf("cosignatures of %s: %w", witness, err)
	}
	return size, nil
}

// Witnessed is the newest checkpoint that at least so many witnesses signed, with what
// they signed below it.
func (l *Log) Witnessed(ctx context.Context, atLeast int) (Checkpoint, error) {
	var rows []checkpointRow
	err := l.db.Read().NewSelect().Model(&rows).Where("(SELECT COUNT(*) FROM gov_cosignature AS s WHERE s.size = checkpoint_row.size) >= ?", atLeast).
		Order("size DESC").Limit(1).Scan(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	if len(rows) == 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint with %d cosignatures: %w", atLeast, ErrNotFound)
	}
	var lines []string
	if err := l.db.Read().NewRaw("SELECT line FROM gov_cosignature WHERE size = ? ORDER BY witness", rows[0].Size).Scan(ctx, &lines); err != nil {
		return Checkpoint{}, fmt.Errorf("cosignatures of %d: %w", rows[0].Size, err)
	}
	return Checkpoint{rows[0].Size, rows[0].Note + strings.Join(lines, ""), rows[0].At.Time()}, nil
}

// ProveGrowth is the consistency proof of RFC 6962 between two sizes of the signed
// tree.
func (l *Log) ProveGrowth(ctx context.Context, from, to int64) ([]tlog.Hash, error) {
	if from == 0 || from == to {
		return nil, nil
	}
	signed, err := l.signed(ctx)
	if err != nil {
		return nil, err
	}
	if from < 0 || from > to || to > signed {
		return nil, fmt.Errorf("growth from %d to %d: %w", from, to, ErrNotFound)
	}
	p, err := tlog.ProveTree(to, from, newHashes(ctx, l.db.Read()))
	if err != nil {
		return nil, fmt.Errorf("growth from %d to %d: %w", from, to, err)
	}
	return p, nil
}

// Published is how large a tree a sink was told of, 0 when of none.
func (l *Log) Published(ctx context.Context, sink string) (int64, error) {
	var size int64
	if err := l.db.Read().NewRaw("SELECT COALESCE(MAX(size), 0) FROM gov_publication WHERE sink = ?", sink).Scan(ctx, &size); err != nil {
		return 0, fmt.Errorf("publication to %s: %w", sink, err)
	}
	return size, nil
}

// SetPublished remembers that a sink was told.
func (l *Log) SetPublished(ctx context.Context, sink string, size int64) error {
	return l.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO gov_publication (sink, size, at) VALUES (?, ?, ?) ON CONFLICT (sink) DO UPDATE SET size = EXCLUDED.size, at = EXCLUDED.at`,
			sink, size, govdb.At(l.db.Now()))
		if err != nil {
			return fmt.Errorf("publication to %s: %w", sink, err)
		}
		return nil
	})
}
