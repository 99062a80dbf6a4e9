package product

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

// Datasets lists what can be exported.
func Datasets() []string { return []string{"users", "documents", "all"} }

// ExportFile is a finished export.
type ExportFile struct {
	ID        uuid.UUID // of the action
	Tenant    governance.TenantID
	Dataset   string
	Person    governance.PersonID // who asked, and alone may download it
	Reason    string
	Rows      int64
	Bytes     int64
	SHA256    string
	Gone      bool // its time was up and the file was removed
	MadeAt    time.Time
	ExpiresAt time.Time
}

func (r exportRow) file() ExportFile {
	return ExportFile{r.ID, governance.TenantID(r.Tenant), r.Dataset, governance.PersonID(r.Person), r.Reason, r.Rows, r.Bytes, r.SHA256, r.Blob == "", r.MadeAt.Time(), r.ExpiresAt.Time()}
}

// Export writes a tenant's rows into a file: at once, or after approval when it is
// more than one actor may take. Its rows are counted before anybody is asked.
func (s *Service) Export(ctx context.Context, id governance.Identity, tenant governance.TenantID, dataset string, opts *governance.DoOptions) (governance.Outcome, error) {
	if id.Actor.Person == "" && id.Subject == nil {
		return governance.Outcome{}, &governance.DeniedError{Action: oversight.ActionExport, Rule: "person", Reason: "only a person may export: the file is theirs to download"}
	}
	return s.export.Do(ctx, s.k, id, oversight.Export{Tenant: tenant, Dataset: dataset}, opts)
}

func counts(ctx context.Context, db bun.IDB, tenant governance.TenantID) (users, documents int64, err error) {
	err = errors.Join(db.NewRaw("SELECT COUNT(*) FROM product_user WHERE tenant = ?", tenant).Scan(ctx, &users),
		db.NewRaw("SELECT COUNT(*) FROM product_document WHERE tenant = ?", tenant).Scan(ctx, &documents))
	if err != nil {
		return 0, 0, fmt.Errorf("count the rows of tenant %s: %w", tenant, err)
	}
	return users, documents, nil
}

func (s *Service) countTx(ctx context.Context, tx *governance.Tx, in oversight.Export) (int64, error) {
	if _, err := s.k.TenantStateTx(ctx, tx, in.Tenant); err != nil {
		return 0, err
	}
	users, documents, err := counts(ctx, tx, in.Tenant)
	switch in.Dataset {
	case "users":
		return users, err
	case "documents":
		return documents, err
	}
	return users + documents, err
}

// errTooMany stops an export that would hold more than was measured and approved.
var errTooMany = errors.New("there are more rows than were counted when it was asked for")

// callExport writes the file. Only rows that were there when it was asked for are in
// it, and never more than were counted then.
func (s *Service) callExport(ctx context.Context, idem string, in oversight.Export) (governance.Result, error) {
	id, err := uuid.Parse(idem)
	if err != nil {
		return governance.Result{}, governance.NotDone(fmt.Errorf("export: %w", err))
	}
	a, err := s.k.Action(ctx, id)
	if err != nil {
		return governance.Result{}, governance.NotDone(err)
	}
	allowed := int64(-1)
	for _, m := range a.Measures {
		if m.Unit == oversight.UnitRows {
			allowed = m.Value
		}
	}
	data, rows, err := s.archive(ctx, a, in)
	if err != nil {
		return governance.Result{}, governance.NotDone(err)
	}
	if rows > allowed {
		return governance.Result{}, governance.NotDone(errTooMany)
	}
	now := s.k.Now()
	sum := sha256.Sum256(data)
	row := &exportRow{ID: id, Tenant: string(in.Tenant), Dataset: in.Dataset, Person: string(a.Requester.Person), Reason: a.Reason, Rows: rows, Bytes: int64(len(data)),
		SHA256: "sha256:" + hex.EncodeToString(sum[:]), MadeAt: govdb.At(now), ExpiresAt: govdb.At(now.Add(s.opts.ExportFor))}
	row.Blob = fmt.Sprintf("exports/%s-%s.zip", id, hex.EncodeToString(sum[:8]))
	if err := s.opts.Blobs.Put(ctx, row.Blob, data); err != nil {
		return governance.Result{}, fmt.Errorf("export %s: %w", id, err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.NewInsert().Model(row).On("CONFLICT (id) DO UPDATE").Set("rows = EXCLUDED.rows").Set("bytes = EXCLUDED.bytes").Set("sha256 = EXCLUDED.sha256").
			Set("blob = EXCLUDED.blob").Set("made_at = EXCLUDED.made_at").Set("expires_at = EXCLUDED.expires_at").Exec(ctx)
		return err
	})
	if err != nil {
		return governance.Result{}, fmt.Errorf("export %s: %w", id, err)
	}
	return row.result()
}

func (r exportRow) result() (governance.Result, error) {
	f := r.file()
	data := map[string]any{"export": f.ID, "dataset": f.Dataset, "rows": f.Rows, "bytes": f.Bytes, "sha256": f.SHA256, "expires_at": f.ExpiresAt}
	ev, err := governance.NewEvent("tenant.exported", f.Tenant, 0, governance.RefTo("export", f.ID), data)
	return governance.Result{Data: data, Events: []governance.Event{ev}}, err
}

// lookupExport finds a file whose receipt was lost, and accepts it only when its
// bytes are those that were written.
func (s *Service) lookupExport(ctx context.Context, idem string, _ oversight.Export) (governance.Result, bool, error) {
	var row exportRow
	err := s.k.DB().Handle().NewSelect().Model(&row).Where("id = ?", idem).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return governance.Result{}, false, nil
	}
	if err != nil {
		return governance.Result{}, false, fmt.Errorf("export %s: %w", idem, err)
	}
	switch _, err := s.bytes(ctx, row); {
	case errors.Is(err, governance.ErrNotFound), errors.Is(err, errOtherBytes):
		return governance.Result{}, false, nil // written again
	case err != nil:
		return governance.Result{}, false, err
	}
	res, err := row.result()
	return res, err == nil, err
}

var errOtherBytes = errors.New("the file is not the one that was written")

func (s *Service) bytes(ctx context.Context, row exportRow) ([]byte, error) {
	data, err := s.opts.Blobs.Get(ctx, row.Blob)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", row.ID, err)
	}
	if sum := sha256.Sum256(data); "sha256:"+hex.EncodeToString(sum[:]) != row.SHA256 {
		return nil, fmt.Errorf("export %s: %w", row.ID, errOtherBytes)
	}
	return data, nil
}

type exportUser struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
}

type exportDocument struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	Author    string    `json:"author"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// archive makes the zip of one snapshot: a file of JSON lines for each table, and a
// manifest.
func (s *Service) archive(ctx context.Context, a governance.Approval, in oversight.Export) ([]byte, int64, error) {
	isolation := sql.LevelDefault
	if s.k.DB().Postgres() {
		isolation = sql.LevelRepeatableRead
	}
	tx, err := s.k.DB().Read().BeginTx(ctx, &sql.TxOptions{ReadOnly: s.k.DB().Postgres(), Isolation: isolation})
	if err != nil {
		return nil, 0, fmt.Errorf("export of tenant %s: %w", in.Tenant, err)
	}
	defer func() { _ = tx.Rollback() }()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	counted := map[string]int64{}
	if in.Dataset != "documents" {
		counted["users"], err = lines(ctx, tx, z, "users.ndjson", a, func(u userRow) any {
			return exportUser{u.ID, u.Email, u.Name, u.Role, u.Active, u.CreatedAt.Time()}
		})
	}
	if err == nil && in.Dataset != "users" {
		counted["documents"], err = lines(ctx, tx, z, "documents.ndjson", a, func(d documentRow) any {
			return exportDocument{d.ID, d.Title, d.Body, d.Author, d.CreatedAt.Time(), d.UpdatedAt.Time()}
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("export of tenant %s: %w", in.Tenant, err)
	}
	w, err := create(z, "manifest.json", a.CreatedAt)
	if err != nil {
		return nil, 0, err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	err = e.Encode(map[string]any{"export": a.ID, "tenant": in.Tenant, "dataset": in.Dataset, "as_of": a.CreatedAt, "requested_by": a.Requester.Person, "rows": counted})
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, 0, fmt.Errorf("export of tenant %s: %w", in.Tenant, err)
	}
	return b.Bytes(), counted["users"] + counted["documents"], nil
}

func create(z *zip.Writer, name string, at time.Time) (io.Writer, error) {
	return z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
}

// lines writes one table's rows of a tenant, by pages of keys.
func lines[R any](ctx context.Context, tx bun.Tx, z *zip.Writer, name string, a governance.Approval, line func(R) any) (int64, error) {
	w, err := create(z, name, a.CreatedAt)
	if err != nil {
		return 0, err
	}
	enc, n, after := json.NewEncoder(w), int64(0), ""
	for {
		var rows []R
		err := tx.NewSelect().Model(&rows).Where("tenant = ? AND created_at <= ? AND id > ?", a.Tenant, govdb.At(a.CreatedAt), after).Order("id").Limit(500).Scan(ctx)
		if err != nil {
			return n, err
		}
		for _, r := range rows {
			if err := enc.Encode(line(r)); err != nil {
				return n, err
			}
		}
		if n += int64(len(rows)); len(rows) < 500 {
			return n, nil
		}
		after = rowID(rows[len(rows)-1])
	}
}

func rowID(r any) string {
	switch r := r.(type) {
	case userRow:
		return r.ID
	case documentRow:
		return r.ID
	}
	return ""
}

// Exports lists a tenant's finished exports, newest first.
func (s *Service) Exports(ctx context.Context, tenant governance.TenantID, limit int) ([]ExportFile, error) {
	if _, err := s.k.Tenant(ctx, tenant); err != nil {
		return nil, err
	}
	var rows []exportRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("made_at DESC", "id DESC").Limit(pageSize(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("exports of tenant %s: %w", tenant, err)
	}
	out := make([]ExportFile, len(rows))
	for i, r := range rows {
		out[i] = r.file()
	}
	return out, nil
}

// Link is the path and query of a download, good for a short time and for the
// person who asked for the export. For everybody else, and for a file that is gone,
// it is empty.
func (s *Service) Link(id governance.Identity, f ExportFile) string {
	now := s.k.Now()
	if f.Gone || id.Subject != nil || id.Actor.Person == "" || id.Actor.Person != f.Person || !now.Before(f.ExpiresAt) {
		return ""
	}
	until := now.Add(s.opts.LinkFor)
	if until.After(f.ExpiresAt) {
		until = f.ExpiresAt
	}
	q := url.Values{"expires": {strconv.FormatInt(until.Unix(), 10)}, "signature": {s.signature(f, until.Unix())}}
	return "/exports/" + f.ID.String() + "/download?" + q.Encode()
}

func (s *Service) signature(f ExportFile, expires int64) string {
	h := hmac.New(sha256.New, s.opts.LinkKey)
	_, _ = fmt.Fprintf(h, "reeve/export/v1\n%s\n%q\n%q\n%d", f.ID, f.Tenant, f.Person, expires)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Download gives the file of a link, once the download is in the ledger. A link
// that is expired, forged or somebody else's is refused, and that is recorded too.
func (s *Service) Download(ctx context.Context, id governance.Identity, export uuid.UUID, expires int64, signature string) (ExportFile, []byte, error) {
	var row exportRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("id = ?", export).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return ExportFile{}, nil, fmt.Errorf("export %s: %w", export, governance.ErrNotFound)
	}
	if err != nil {
		return ExportFile{}, nil, fmt.Errorf("export %s: %w", export, err)
	}
	f, now := row.file(), s.k.Now()
	why := ""
	switch {
	case !hmac.Equal([]byte(signature), []byte(s.signature(f, expires))):
		why = "the link is not one of ours"
	case id.Subject != nil || id.Actor.Person != f.Person:
		why = "the link belongs to somebody else"
	case now.Unix() >= expires:
		why = "the link has expired"
	case f.Gone || !now.Before(f.ExpiresAt):
		why = "the file is not kept any more"
	}
	if why == "" {
		if err := s.k.Authorize(ctx, id, "tenant:export", governance.Target{Tenant: f.Tenant, Resource: governance.RefTo("export", f.ID)}); err != nil {
			why = "the permission to export is gone"
		}
	}
	rec := governance.Record{Action: "export.download", Tenant: f.Tenant, Resource: governance.RefTo("export", f.ID), ActionID: f.ID,
		Data: map[string]any{"rows": f.Rows, "bytes": f.Bytes, "sha256": f.SHA256}}
	var data []byte
	if why == "" {
		if data, err = s.bytes(ctx, row); err != nil {
			return ExportFile{}, nil, err
		}
	} else {
		rec.Outcome, rec.Data = governance.OutcomeDenied, map[string]any{"why": why}
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, rec)
		return err
	})
	if err != nil {
		return ExportFile{}, nil, err
	}
	if why != "" {
		return ExportFile{}, nil, &governance.DeniedError{Action: "export.download", Rule: "link", Reason: why}
	}
	return f, data, nil
}

// FileName is the name under which a browser saves the file.
func (f ExportFile) FileName() string {
	safe := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, string(f.Tenant))
	return safe + "-" + f.Dataset + "-" + f.MadeAt.Format("20060102-1504") + ".zip"
}

// RemoveExpired removes the files whose time is up. The kernel calls it.
func (s *Service) RemoveExpired(ctx context.Context) error {
	var rows []exportRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("blob <> '' AND expires_at <= ?", govdb.At(s.k.Now())).Limit(100).Scan(ctx); err != nil {
		return fmt.Errorf("expired exports: %w", err)
	}
	var errs []error
	for _, r := range rows {
		if err := s.opts.Blobs.Delete(ctx, r.Blob); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			if _, err := tx.ExecContext(ctx, "UPDATE product_export SET blob = '' WHERE id = ?", r.ID); err != nil {
				return fmt.Errorf("export %s: %w", r.ID, err)
			}
			_, err := s.k.RecordTx(ctx, tx, governance.System("product"), governance.Record{Action: "export.remove", Tenant: governance.TenantID(r.Tenant), Resource: governance.RefTo("export", r.ID)})
			return err
		}))
	}
	return errors.Join(errs...)
}
