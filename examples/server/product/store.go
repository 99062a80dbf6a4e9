package product

import (
	"embed"
	"io/fs"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the product's tables.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "product", FS: files}
	}
	return govdb.Schema{Name: "product", FS: sub}
}

type planRow struct {
	bun.BaseModel `bun:"table:product_plan"`

	ID       string `bun:"id,pk"`
	Name     string `bun:"name"`
	Rank     int64  `bun:"rank"`
	Features string `bun:"features"` // JSON: feature to quantity
}

type priceRow struct {
	bun.BaseModel `bun:"table:product_price"`

	Plan     string `bun:"plan,pk"`
	Currency string `bun:"currency,pk"`
	Minor    int64  `bun:"minor"`
}

type subscriptionRow struct {
	bun.BaseModel `bun:"table:product_subscription"`

	Tenant    string       `bun:"tenant,pk"`
	Plan      string       `bun:"plan"`
	Currency  string       `bun:"currency"`
	Seats     int64        `bun:"seats"`
	MRRMinor  int64        `bun:"mrr_minor"`
	Version   int64        `bun:"version"`
	ChangedAt govdb.Micros `bun:"changed_at"`
}

type creditRow struct {
	bun.BaseModel `bun:"table:product_credit"`

	ID        uuid.UUID    `bun:"id,pk"`
	Tenant    string       `bun:"tenant"`
	Minor     int64        `bun:"minor"`
	Currency  string       `bun:"currency"`
	Reason    string       `bun:"reason"`
	Actor     string       `bun:"actor"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type userRow struct {
	bun.BaseModel `bun:"table:product_user"`

	ID        string       `bun:"id,pk"`
	Tenant    string       `bun:"tenant"`
	Email     string       `bun:"email"`
	Name      string       `bun:"name"`
	Role      string       `bun:"role"`
	Staff     string       `bun:"staff"`
	Active    bool         `bun:"active"`
	CreatedAt govdb.Micros `bun:"created_at"`
	SeenAt    govdb.Micros `bun:"seen_at"`
}

type invoiceRow struct {
	bun.BaseModel `bun:"table:product_invoice"`

	Number   string       `bun:"number,pk"`
	Tenant   string       `bun:"tenant"`
	Minor    int64        `bun:"minor"`
	Currency string       `bun:"currency"`
	Paid     bool         `bun:"paid"`
	Refunded int64        `bun:"refunded_minor"`
	IssuedAt govdb.Micros `bun:"issued_at"`
}

type apiKeyRow struct {
	bun.BaseModel `bun:"table:product_api_key"`

	ID     uuid.UUID    `bun:"id,pk"`
	Tenant string       `bun:"tenant"`
	Name   string       `bun:"name"`
	Hash   string       `bun:"hash"`
	MadeBy string       `bun:"made_by"`
	MadeAt govdb.Micros `bun:"made_at"`
}

type payoutRow struct {
	bun.BaseModel `bun:"table:product_payout"`

	Tenant    string       `bun:"tenant,pk"`
	Holder    string       `bun:"holder"`
	IBAN      string       `bun:"iban"`
	ChangedBy string       `bun:"changed_by"`
	ChangedAt govdb.Micros `bun:"changed_at"`
}

type documentRow struct {
	bun.BaseModel `bun:"table:product_document"`

	ID        string       `bun:"id,pk"`
	Tenant    string       `bun:"tenant"`
	Title     string       `bun:"title"`
	Body      string       `bun:"body"`
	Author    string       `bun:"author"`
	Version   int64        `bun:"version"`
	CreatedAt govdb.Micros `bun:"created_at"`
	UpdatedAt govdb.Micros `bun:"updated_at"`
}

type exportRow struct {
	bun.BaseModel `bun:"table:product_export"`

	ID        uuid.UUID    `bun:"id,pk"`
	Tenant    string       `bun:"tenant"`
	Dataset   string       `bun:"dataset"`
	Person    string       `bun:"person"`
	Reason    string       `bun:"reason"`
	Rows      int64        `bun:"rows"`
	Bytes     int64        `bun:"bytes"`
	SHA256    string       `bun:"sha256"`
	Blob      string       `bun:"blob"` // empty once the file was removed
	MadeAt    govdb.Micros `bun:"made_at"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
}
