package product

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Invoice is a bill of a customer.
type Invoice struct {
	Number   string
	Tenant   governance.TenantID
	Money    governance.Money
	Paid     bool
	IssuedAt time.Time
	Refunded governance.Money // of what was paid
}

// AddInvoicesTx inserts invoices.
func (s *Service) AddInvoicesTx(ctx context.Context, tx *governance.Tx, invoices ...Invoice) error {
	rows := make([]invoiceRow, len(invoices))
	for i, v := range invoices {
		if v.Number == "" || v.Tenant == "" || v.Money.Currency == "" {
			return governance.Invalid("invoice", "number, tenant and money are required")
		}
		rows[i] = invoiceRow{Number: v.Number, Tenant: string(v.Tenant), Minor: v.Money.Minor, Currency: v.Money.Currency, Paid: v.Paid, IssuedAt: govdb.At(v.IssuedAt)}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("invoices: %w", err)
	}
	return nil
}

// Invoices lists a tenant's invoices, newest first.
func (s *Service) Invoices(ctx context.Context, tenant governance.TenantID, limit int) ([]Invoice, error) {
	var rows []invoiceRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("issued_at DESC", "number DESC").Limit(pageSize(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("invoices of tenant %s: %w", tenant, err)
	}
	out := make([]Invoice, len(rows))
	for i, r := range rows {
		out[i] = Invoice{r.Number, governance.TenantID(r.Tenant), governance.Money{Minor: r.Minor, Currency: r.Currency}, r.Paid, r.IssuedAt.Time(), governance.Money{Minor: r.Refunded, Currency: r.Currency}}
	}
	return out, nil
}

// APIKey is a key by which a customer's programs use the product. Its text is shown
// once.
type APIKey struct {
	ID     uuid.UUID
	Name   string
	MadeBy string
	MadeAt time.Time
}

// APIKeys lists a tenant's keys, newest first.
func (s *Service) APIKeys(ctx context.Context, tenant governance.TenantID) ([]APIKey, error) {
	var rows []apiKeyRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("made_at DESC", "id").Limit(100).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys of tenant %s: %w", tenant, err)
	}
	out := make([]APIKey, len(rows))
	for i, r := range rows {
		out[i] = APIKey{r.ID, r.Name, r.MadeBy, r.MadeAt.Time()}
	}
	return out, nil
}

func plain(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// CreateAPIKey makes a key and gives its text, once.
func (s *Service) CreateAPIKey(ctx context.Context, id governance.Identity, tenant governance.TenantID, name string) (string, error) {
	if !plain(name, 100) {
		return "", governance.Invalid("name", "is required, at most 100 bytes of text")
	}
	secret := make([]byte, 24)
	_, _ = rand.Read(secret) // never fails
	text := "pw_" + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(text))
	row := &apiKeyRow{ID: uuid.New(), Tenant: string(tenant), Name: name, Hash: hex.EncodeToString(sum[:]), MadeBy: id.Actor.ID, MadeAt: govdb.At(s.k.Now())}
	return text, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("key of tenant %s: %w", tenant, err)
		}
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "product.key.create", Tenant: tenant, Resource: governance.RefTo("product_key", row.ID)})
		return err
	})
}

// Payout is the account that a customer is paid to.
type Payout struct {
	Holder    string
	IBAN      string
	ChangedBy string
	ChangedAt time.Time
}

// Payout reads a tenant's account; zero when there is none.
func (s *Service) Payout(ctx context.Context, tenant governance.TenantID) (Payout, error) {
	var rows []payoutRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Scan(ctx); err != nil {
		return Payout{}, fmt.Errorf("payout of tenant %s: %w", tenant, err)
	}
	if len(rows) == 0 {
		return Payout{}, nil
	}
	return Payout{rows[0].Holder, rows[0].IBAN, rows[0].ChangedBy, rows[0].ChangedAt.Time()}, nil
}

// SetPayout stores the account. Its number is a personal value of the record.
func (s *Service) SetPayout(ctx context.Context, id governance.Identity, tenant governance.TenantID, holder, iban string) error {
	iban = strings.ToUpper(strings.Join(strings.Fields(iban), ""))
	if !plain(holder, 200) {
		return governance.Invalid("holder", "is required, at most 200 bytes of text")
	}
	if len(iban) < 15 || len(iban) > 34 || strings.ContainsFunc(iban, func(c rune) bool { return (c < '0' || c > '9') && (c < 'A' || c > 'Z') }) {
		return governance.Invalid("iban", "is not an IBAN")
	}
	row := &payoutRow{Tenant: string(tenant), Holder: holder, IBAN: iban, ChangedBy: id.Actor.ID, ChangedAt: govdb.At(s.k.Now())}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.NewInsert().Model(row).On("CONFLICT (tenant) DO UPDATE").Set("holder = EXCLUDED.holder").Set("iban = EXCLUDED.iban").
			Set("changed_by = EXCLUDED.changed_by").Set("changed_at = EXCLUDED.changed_at").Exec(ctx); err != nil {
			return fmt.Errorf("payout of tenant %s: %w", tenant, err)
		}
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "product.payout.set", Tenant: tenant, Resource: tenantRef(tenant), Personal: map[string]string{"holder": holder, "iban": iban}})
		return err
	})
}

func tenantRef(t governance.TenantID) governance.Ref {
	return governance.Ref{Kind: "tenant", ID: string(t)}
}

// SetEmail changes the address by which a user signs in.
func (s *Service) SetEmail(ctx context.Context, id governance.Identity, tenant governance.TenantID, user, email string) error {
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > 200 {
		return governance.Invalid("email", "is not an e-mail address")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE product_user SET email = ? WHERE tenant = ? AND id = ? AND active", email, tenant, user)
		if err != nil {
			return fmt.Errorf("e-mail of %s: %w", user, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("user %s: %w", user, governance.ErrNotFound)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "product.email.set", Tenant: tenant, Resource: governance.Ref{Kind: "user", ID: user}, Personal: map[string]string{"email": email}})
		return err
	})
}
