package browserrec

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// The actions under which this package writes into the ledger.
const (
	ActionChunk  = "impersonation.browser_chunk"
	actionSilent = "impersonation.browser_silent"
	actionKit    = "impersonation.browser_recorder"
)

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	Base string // address that [Service.Handler] is mounted at, inside the cookie's path; default "/recording/"
	// Require says which sessions must not go on when their browser falls silent: they are
	// paused, and end when it lasts. nil: none.
	Require func(tenant governance.TenantID, scope oversight.Scope) bool
	// MaskFields are told to the browser, so that it masks by the same names as the
	// server; nil takes those of the recorder.
	MaskFields []string
	LostAfter  time.Duration // how long a page in front may be silent; default 15s
	MaxSession int64         // most bytes of one session; default 64 MiB
}

const (
	maxUpload  = 256 << 10
	rateWindow = 5 * time.Second
	rateCalls  = 40
	rateBytes  = 2 << 20
)

// ErrRate says that a session reports more than anybody does.
var ErrRate = errors.New("the browser reports too much")

// Service takes what browsers report. Use [New].
type Service struct {
	k     *governance.Kernel
	over  *oversight.Service
	masks recorder.Masks
	blobs recorder.BlobStore
	kit   *Kit
	opts  Options

	mu    sync.Mutex
	lanes map[uuid.UUID]*lane
}

// lane is one session while it reports to this server.
type lane struct {
	mu    sync.Mutex
	pages map[uuid.UUID]*follow

	since time.Time // of the window of its rate
	calls int
	bytes int64
	used  time.Time
}

// follow is a page as far as its chunks have been checked.
type follow struct {
	c *checker
	n int64
}

// New makes a Service that stores beside rec, writes down which recorder it serves when
// that is another than before, and joins the kernel's background work, which finds
// browsers that fell silent.
func New(ctx context.Context, over *oversight.Service, rec *recorder.Recorder, kit *Kit, opts *Options) (*Service, error) {
	if over == nil || rec == nil || kit == nil || len(kit.script) == 0 {
		return nil, errors.New("browserrec: a service, a recorder and a kit are required")
	}
	s := &Service{k: over.Kernel(), over: over, masks: rec.Masks(), blobs: rec.Blobs(), kit: kit, lanes: map[uuid.UUID]*lane{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Base == "" {
		s.opts.Base = "/recording/"
	}
	if !strings.HasPrefix(s.opts.Base, "/") || !strings.HasSuffix(s.opts.Base, "/") {
		return nil, errors.New("browserrec: Base begins and ends with a slash")
	}
	if s.opts.Require == nil {
		s.opts.Require = func(governance.TenantID, oversight.Scope) bool { return false }
	}
	if s.opts.MaskFields == nil {
		s.opts.MaskFields = s.masks.Fields()
	}
	if s.opts.LostAfter == 0 {
		s.opts.LostAfter = 15 * time.Second
	}
	if s.opts.MaxSession == 0 {
		s.opts.MaxSession = 64 << 20
	}
	if s.opts.LostAfter < 5*time.Second || s.opts.MaxSession < maxUpload {
		return nil, errors.New("browserrec: LostAfter is at least 5s, MaxSession 256 KiB")
	}
	if err := s.recordKit(ctx); err != nil {
		return nil, err
	}
	over.Accompany(oversight.Companion{Opened: func() map[string]any { return map[string]any{"browser_recorder": kit.data()} }, Ended: s.ended})
	s.k.Background("oversight.browser", 5*time.Second, s.Sweep)
	return s, nil
}

// recordKit writes down a recorder that was not served before.
func (s *Service) recordKit(ctx context.Context) error {
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row := kitRow{Digest: s.kit.Hashes[kitScript], At: govdb.At(s.k.Now())}
		n, err := tx.NewSelect().Model((*kitRow)(nil)).Where("digest = ?", row.Digest).Count(ctx)
		if err != nil || n > 0 {
			return err
		}
		receipt, err := s.k.RecordTx(ctx, tx, governance.System("oversight"), governance.Record{Action: actionKit, Resource: governance.Ref{Kind: "browser_recorder", ID: s.kit.Version},
			Outcome: governance.OutcomeObserved, Data: s.kit.data()})
		if err != nil {
			return err
		}
		row.Record = receipt.ID
		_, err = tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
	if err != nil && !governance.IsUnique(err) { // another server was first
		return fmt.Errorf("browser recorder: %w", err)
	}
	return nil
}

// ended tells how far a session's report had come.
func (s *Service) ended(ctx context.Context, tx *governance.Tx, session uuid.UUID) (map[string]any, error) {
	var last []chunkRow
	if err := tx.NewSelect().Model(&last).Where("session = ?", session).Order("seq DESC").Limit(1).Scan(ctx); err != nil {
		return nil, fmt.Errorf("last browser chunk of %s: %w", session, err)
	}
	if len(last) == 0 {
		return map[string]any{"browser_chunks": 0}, nil
	}
	return map[string]any{"browser_chunks": last[0].Seq, "browser_chunk": last[0].SHA256}, nil
}

// Kit is what is served.
func (s *Service) Kit() *Kit { return s.kit }

var scriptTag = template.Must(template.New("script").Parse(`<script type="module" id="reeve-recording" src="{{.Base}}client.js" data-to="{{.Base}}chunks" data-page="{{.Page}}" data-fields="{{.Fields}}"></script>`))

// Script is what a host puts into the head of a page of its product that it is about to
// send. It is empty when nobody is impersonated. From now on the browser has to tell
// of this page. The page's policy has to allow scripts and connections of its own
// origin.
func (s *Service) Script(r *http.Request) (template.HTML, error) {
	have, ok := oversight.FromContext(r.Context())
	if !ok {
		return "", nil
	}
	path := s.masks.Text(strings.ToValidUTF8(r.URL.Path, "?"))
	row := &pageRow{ID: uuid.New(), Session: have.ID, Path: path[:min(len(path), 300)], State: pageIssued, IssuedAt: govdb.At(s.k.Now())}
	row.Path = strings.ReplaceAll(strings.ToValidUTF8(row.Path, ""), "\x00", "?")
	err := s.k.DB().Do(r.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("page of session %s: %w", have.ID, err)
	}
	var b strings.Builder
	if err := scriptTag.Execute(&b, map[string]any{"Base": s.opts.Base, "Page": row.ID, "Fields": strings.Join(s.opts.MaskFields, " ")}); err != nil {
		return "", fmt.Errorf("page of session %s: %w", have.ID, err)
	}
	return template.HTML(b.String()), nil //nolint:gosec // made by html/template
}

// silent tells whether a page should have reported and did not. A page that was sent and
// never told of does not count once a later one was told of: a browser drops answers
// that it does not want any more. Where none was, the silence began with the first of
// them, and is said of the last.
func (s *Service) silent(rows []pageRow, i int, now time.Time) bool {
	p := rows[i]
	switch p.State {
	case pageIssued:
		if i < len(rows)-1 {
			return false
		}
		for ; i > 0 && rows[i-1].State == pageIssued; i-- {
		}
		return now.Sub(rows[i].IssuedAt.Time()) >= s.opts.LostAfter
	case pageOpen:
		return now.Sub(p.SeenAt.Time()) >= s.opts.LostAfter
	}
	return false
}

// Sweep finds browsers that fell silent: that is written down, told, and pauses a
// session that requires the report. The kernel calls it; tests may.
func (s *Service) Sweep(ctx context.Context) error {
	live, err := s.over.Live(ctx)
	if err != nil {
		return err
	}
	now := s.k.Now()
	s.mu.Lock()
	for id, l := range s.lanes {
		if !slices.ContainsFunc(live, func(x oversight.Session) bool { return x.ID == id }) && now.Sub(l.used) > time.Minute {
			delete(s.lanes, id)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, have := range live {
		if have.State == oversight.StateActive {
			errs = append(errs, s.look(ctx, have))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) look(ctx context.Context, have oversight.Session) error {
	rows, err := pages(ctx, s.k.DB().Read(), have.ID)
	if err != nil {
		return err
	}
	for i, p := range rows {
		if !s.silent(rows, i, s.k.Now()) {
			continue
		}
		required := s.opts.Require(have.Tenant, have.Scope)
		if !p.Told {
			if err := s.tell(ctx, have, p, required); err != nil {
				return err
			}
		}
		if required {
			return s.over.Pause(ctx, have.ID, oversight.ByBrowser, "the browser does not report what happens in it")
		}
	}
	return nil
}

func (s *Service) tell(ctx context.Context, have oversight.Session, p pageRow, required bool) error {
	id := governance.System("oversight")
	id.SessionID = have.ID.String()
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE browserrec_page SET told = TRUE WHERE id = ? AND told = FALSE", p.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		receipt, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: actionSilent, Tenant: have.Tenant, Resource: governance.RefTo("session", have.ID), ActionID: have.ID,
			Outcome: governance.OutcomeObserved, Data: map[string]any{"page": p.ID, "path": p.Path, "chunks": p.N, "required": required}})
		if err != nil || required { // the pause has an alert of its own
			return err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "impersonation.browser:" + have.ID.String(), Severity: governance.Warning, Tenant: have.Tenant,
			Title: "An impersonation's browser fell silent", Body: "What the server recorded is complete; what the browser tells of has a gap.",
			Links: []governance.Link{{Title: "Session", Kind: "session", ID: have.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}
