package browserrec

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "browserrec", FS: files}
	}
	return govdb.Schema{Name: "browserrec", FS: sub}
}

// The states of a page.
const (
	pageIssued = "issued" // sent to the browser, which has not told of it
	pageOpen   = "open"
	pageHidden = "hidden" // behind another window: it need not report
	pageClosed = "closed" // left, with its last words
	pageGone   = "gone"   // left without; another one took its place
)

type pageRow struct {
	bun.BaseModel `bun:"table:browserrec_page"`

	ID       uuid.UUID    `bun:"id,pk"`
	Session  uuid.UUID    `bun:"session"`
	Path     string       `bun:"path"`
	Tab      string       `bun:"tab"`
	State    string       `bun:"state"`
	N        int64        `bun:"n"` // of its last chunk
	LastHash string       `bun:"last_hash"`
	Lost     int64        `bun:"lost"` // chunks and events that never came
	Told     bool         `bun:"told"` // that it fell silent
	IssuedAt govdb.Micros `bun:"issued_at"`
	SeenAt   govdb.Micros `bun:"seen_at"`
}

type chunkRow struct {
	bun.BaseModel `bun:"table:browserrec_chunk"`

	Session uuid.UUID    `bun:"session,pk"`
	Seq     int64        `bun:"seq,pk"`
	Page    uuid.UUID    `bun:"page"`
	N       int64        `bun:"n"`
	Lost    int64        `bun:"lost"`
	Blob    string       `bun:"blob"`
	SHA256  string       `bun:"sha256"`
	Prev    string       `bun:"prev"`
	Bytes   int64        `bun:"bytes"`
	Events  int64        `bun:"events"`
	Masked  int64        `bun:"masked"`
	Record  uuid.UUID    `bun:"record"`
	At      govdb.Micros `bun:"at"`
}

type kitRow struct {
	bun.BaseModel `bun:"table:browserrec_kit"`

	Digest string       `bun:"digest,pk"`
	Record uuid.UUID    `bun:"record"`
	At     govdb.Micros `bun:"at"`
}

func pages(ctx context.Context, db bun.IDB, session uuid.UUID) ([]pageRow, error) {
	var rows []pageRow
	if err := db.NewSelect().Model(&rows).Where("session = ?", session).Order("issued_at", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("pages of session %s: %w", session, err)
	}
	return rows, nil
}

func chunks(ctx context.Context, db bun.IDB, session uuid.UUID) ([]chunkRow, error) {
	var rows []chunkRow
	if err := db.NewSelect().Model(&rows).Where("session = ?", session).Order("seq").Scan(ctx); err != nil {
		return nil, fmt.Errorf("browser chunks of session %s: %w", session, err)
	}
	return rows, nil
}
