package product

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// The roles of a customer's users.
const (
	RoleAdmin  = "admin"
	RoleMember = "member"
	RoleViewer = "viewer"
)

// User is a user of a customer.
type User struct {
	ID        string
	Tenant    governance.TenantID
	Email     string
	Name      string
	Role      string
	Staff     governance.PersonID // set when a member of our own staff has this account
	Active    bool
	CreatedAt time.Time
	SeenAt    time.Time // when they last used the product themselves
}

// Document is something a customer made.
type Document struct {
	ID        string
	Tenant    governance.TenantID
	Title     string
	Body      string
	Author    string // a user's id
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// AddUsersTx inserts users.
func (s *Service) AddUsersTx(ctx context.Context, tx *governance.Tx, users ...User) error {
	rows := make([]userRow, len(users))
	for i, u := range users {
		if u.ID == "" || u.Tenant == "" || !slices.Contains([]string{RoleAdmin, RoleMember, RoleViewer}, u.Role) {
			return governance.Invalid("user", "id and tenant are required, role is admin, member or viewer")
		}
		rows[i] = userRow{ID: u.ID, Tenant: string(u.Tenant), Email: u.Email, Name: u.Name, Role: u.Role, Staff: string(u.Staff), Active: u.Active, CreatedAt: govdb.At(u.CreatedAt)}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

// AddDocumentsTx inserts documents.
func (s *Service) AddDocumentsTx(ctx context.Context, tx *governance.Tx, docs ...Document) error {
	rows := make([]documentRow, len(docs))
	for i, d := range docs {
		if d.ID == "" || d.Tenant == "" || d.Title == "" {
			return governance.Invalid("document", "id, tenant and title are required")
		}
		if d.UpdatedAt.IsZero() {
			d.UpdatedAt = d.CreatedAt
		}
		rows[i] = documentRow{ID: d.ID, Tenant: string(d.Tenant), Title: d.Title, Body: d.Body, Author: d.Author, Version: max(1, d.Version), CreatedAt: govdb.At(d.CreatedAt), UpdatedAt: govdb.At(d.UpdatedAt)}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	return nil
}

// Users lists a tenant's active users by id.
func (s *Service) Users(ctx context.Context, tenant governance.TenantID, limit int) ([]User, error) {
	var rows []userRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ? AND active", tenant).Order("id").Limit(pageSize(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("users of tenant %s: %w", tenant, err)
	}
	out := make([]User, len(rows))
	for i, r := range rows {
		out[i] = r.user()
	}
	return out, nil
}

func (r userRow) user() User {
	return User{r.ID, governance.TenantID(r.Tenant), r.Email, r.Name, r.Role, governance.PersonID(r.Staff), r.Active, r.CreatedAt.Time(), r.SeenAt.Time()}
}

// Target is oversight.Options.Targets: the user of a tenant who may be represented.
// The role in the product becomes the subject's only role.
func (s *Service) Target(ctx context.Context, tenant governance.TenantID, user string) (governance.Actor, error) {
	var row userRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("tenant = ? AND id = ? AND active", tenant, user).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return governance.Actor{}, fmt.Errorf("user: %w", governance.ErrNotFound)
	}
	if err != nil {
		return governance.Actor{}, fmt.Errorf("user: %w", err)
	}
	return governance.Actor{ID: "product:" + row.ID, Kind: governance.ActorUser, Person: governance.PersonID(row.Staff), Name: row.Name, Roles: []string{row.Role}}, nil
}

// Counts says how much a tenant has.
func (s *Service) Counts(ctx context.Context, tenant governance.TenantID) (users, documents int64, err error) {
	return counts(ctx, s.k.DB().Read(), tenant)
}

// Documents lists a tenant's documents, the last changed first.
func (s *Service) Documents(ctx context.Context, tenant governance.TenantID, limit int) ([]Document, error) {
	var rows []documentRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("updated_at DESC", "id").Limit(pageSize(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("documents of tenant %s: %w", tenant, err)
	}
	out := make([]Document, len(rows))
	for i, r := range rows {
		out[i] = r.document()
	}
	return out, nil
}

func (r documentRow) document() Document {
	return Document{r.ID, governance.TenantID(r.Tenant), r.Title, r.Body, r.Author, r.Version, r.CreatedAt.Time(), r.UpdatedAt.Time()}
}

// Document reads one document of a tenant.
func (s *Service) Document(ctx context.Context, tenant governance.TenantID, id string) (Document, error) {
	var row documentRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("tenant = ? AND id = ?", tenant, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Document{}, fmt.Errorf("document %s: %w", id, governance.ErrNotFound)
	}
	if err != nil {
		return Document{}, fmt.Errorf("document %s: %w", id, err)
	}
	return row.document(), nil
}

// Rename gives a document another title, when it still has the version that the
// caller saw. Titles may be personal: the record keeps them as salted digests.
func (s *Service) Rename(ctx context.Context, id governance.Identity, tenant governance.TenantID, doc, title string, version int64) error {
	if title == "" || len(title) > 200 || !utf8.ValidString(title) || strings.ContainsRune(title, 0) {
		return governance.Invalid("title", "is required, at most 200 bytes of text")
	}
	old, err := s.Document(ctx, tenant, doc)
	if err != nil {
		return err
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE product_document SET title = ?, version = version + 1, updated_at = ? WHERE tenant = ? AND id = ? AND version = ?",
			title, govdb.At(s.k.Now()), tenant, doc, version)
		if err != nil {
			return fmt.Errorf("rename document %s: %w", doc, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("document %s has changed: %w", doc, governance.ErrConflict)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "document.rename", Tenant: tenant, Resource: governance.Ref{Kind: "document", ID: doc},
			Data: map[string]any{"version": version + 1}, Personal: map[string]string{"title_before": old.Title, "title": title}})
		return err
	})
}
