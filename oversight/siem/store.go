package siem

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "siem", FS: files}
	}
	return govdb.Schema{Name: "siem", FS: sub}
}

type sinkRow struct {
	bun.BaseModel `bun:"table:siem_sink"`

	Name      string       `bun:"name,pk"`
	Kind      string       `bun:"kind"`
	Target    string       `bun:"target"`
	State     string       `bun:"state"`
	Next      int64        `bun:"next"`
	BatchTo   int64        `bun:"batch_to"`
	AlertAt   govdb.Micros `bun:"alert_at"`
	Failures  int64        `bun:"failures"`
	Error     string       `bun:"error"`
	NextAt    govdb.Micros `bun:"next_at"`
	SentAt    govdb.Micros `bun:"sent_at"`
	PausedBy  string       `bun:"paused_by"`
	PausedWhy string       `bun:"paused_why"`
	PausedAt  govdb.Micros `bun:"paused_at"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type toldRow struct {
	bun.BaseModel `bun:"table:siem_alert"`

	Sink   string       `bun:"sink,pk"`
	Alert  uuid.UUID    `bun:"alert,pk"`
	Told   string       `bun:"told"`
	LastAt govdb.Micros `bun:"last_at"`
}

func readSink(ctx context.Context, db bun.IDB, name string) (sinkRow, error) {
	var row sinkRow
	err := db.NewSelect().Model(&row).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return row, fmt.Errorf("sink %s: %w", name, governance.ErrNotFound)
	}
	if err != nil {
		return row, fmt.Errorf("sink %s: %w", name, err)
	}
	return row, nil
}
