package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// The permissions of this package. Building asks for the right to read what the pack
// holds as well.
const (
	PermissionRead     = "evidence:read"     // see packs, download them, the coverage report
	PermissionBuild    = "evidence:build"    // build one
	PermissionDisclose = "evidence:disclose" // with personal values in it
)

var (
	// ErrUnsealed says that the ledger did not sign what a pack needs in time.
	ErrUnsealed error = unsealed{}
	// ErrDoesNotHold says that what is stored does not agree with the ledger, so that
	// no pack can be made of it.
	ErrDoesNotHold = errors.New("evidence: what is stored does not agree with the ledger")
)

type unsealed struct{}

func (unsealed) Error() string {
	return "evidence: the ledger has not signed the records in time, try again"
}
func (unsealed) Unwrap() error { return governance.ErrRetry }

// notHolding is an ErrDoesNotHold that says where.
type notHolding struct{ where string }

func (e *notHolding) Error() string   { return ErrDoesNotHold.Error() + ": " + e.where }
func (e *notHolding) Unwrap() []error { return []error{ErrDoesNotHold, governance.ErrConflict} }

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	Software string        // name and version of the program; default from its build
	Keep     time.Duration // how long a pack can be downloaded; default 7 days
	Wait     time.Duration // how long Build waits for the ledger's signature; default 10s
	// Witnesses are whose cosignatures are checked in a pack; Build waits until a quorum of
	// them signed the checkpoint that a pack's records are proven to.
	Witnesses cosign.Policy
}

// Service builds packs. Use [New].
type Service struct {
	k     *governance.Kernel
	svc   *oversight.Service
	rec   *recorder.Recorder
	blobs recorder.BlobStore
	opts  Options

	inside *browserrec.Service // nil: nothing is recorded in browsers
}

// Accompany puts what browsers told into the packs of sessions as well.
func (s *Service) Accompany(inside *browserrec.Service) { s.inside = inside }

// New makes a Service that keeps packs in blobs. svc and rec may be nil, then there
// are packs about actions only.
func New(k *governance.Kernel, svc *oversight.Service, rec *recorder.Recorder, blobs recorder.BlobStore, opts *Options) (*Service, error) {
	if k == nil || blobs == nil {
		return nil, errors.New("evidence: a kernel and a blob store are required")
	}
	s := &Service{k: k, svc: svc, rec: rec, blobs: blobs}
	if opts != nil {
		s.opts = *opts
	}
	if _, err := s.opts.Witnesses.Verifiers(); err != nil {
		return nil, fmt.Errorf("evidence: Witnesses: %w", err)
	}
	if s.opts.Keep < 0 || s.opts.Wait < 0 {
		return nil, errors.New("evidence: Keep and Wait are not negative")
	}
	if s.opts.Keep == 0 {
		s.opts.Keep = 7 * 24 * time.Hour
	}
	if s.opts.Wait == 0 {
		s.opts.Wait = 10 * time.Second
	}
	if s.opts.Software == "" {
		s.opts.Software = software()
	}
	k.Background("evidence.packs", time.Minute, s.Sweep)
	return s, nil
}

// Kernel is the kernel this service was made on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Verify checks a pack with the keys of this server's log and of its witnesses.
func (s *Service) Verify(r io.ReaderAt, size int64) (pack.Report, error) {
	return pack.VerifyWitnessed(r, size, s.k.Ledger().VerifierKey(), s.opts.Witnesses)
}

func software() string {
	out := "reeve devel"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		out = "reeve " + v
	}
	for _, set := range info.Settings {
		if set.Key == "vcs.revision" {
			out += " " + set.Value
		}
	}
	return out
}

func (s *Service) target(ctx context.Context, t governance.TenantID) (governance.Target, error) {
	out := governance.Target{Tenant: t}
	if t == "" {
		return out, nil
	}
	have, err := s.k.Tenant(ctx, t)
	if errors.Is(err, governance.ErrNotFound) { // the host never told us of it
		return out, nil
	}
	out.Region, out.Country = have.Region, have.Country
	return out, err
}

// Download gives a pack's bytes and writes down who took them.
func (s *Service) Download(ctx context.Context, id governance.Identity, pack uuid.UUID) (Pack, []byte, error) {
	p, err := s.Pack(ctx, id, pack)
	if err != nil {
		return p, nil, err
	}
	if p.Disclosed > 0 { // it says more than a reader of packs may know
		target, err := s.target(ctx, p.Tenant)
		if err != nil {
			return p, nil, err
		}
		if err := s.k.Authorize(ctx, id, PermissionDisclose, target); err != nil {
			return p, nil, err
		}
	}
	if err := s.settle(ctx, &p); err != nil {
		return p, nil, err
	}
	if p.State != StateReady {
		return p, nil, fmt.Errorf("pack %s is %s, build it again: %w", pack, p.State, governance.ErrNotFound)
	}
	data, err := s.blobs.Get(ctx, p.blob)
	if err != nil {
		return p, nil, fmt.Errorf("pack %s: %w", pack, err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "evidence.download", Outcome: governance.OutcomeObserved, Tenant: p.Tenant,
			Resource: governance.RefTo(p.Kind, p.Subject), Data: map[string]any{"pack": p.ID, "sha256": p.SHA256, "bytes": p.Bytes, "disclosed": p.Disclosed}})
		return err
	})
	return p, data, err
}

// settle takes a pack away whose time is over, or that says what has been erased.
func (s *Service) settle(ctx context.Context, p *Pack) error {
	next := StateReady
	if !s.k.Now().Before(p.ExpiresAt) {
		next = StateExpired
	} else if len(p.disclosed) > 0 {
		gone, err := s.erased(ctx, p.disclosed)
		if err != nil {
			return err
		}
		if gone {
			next = StateErased
		}
	}
	if p.blob == "" || next == StateReady {
		return nil
	}
	if err := s.blobs.Delete(ctx, p.blob); err != nil {
		return fmt.Errorf("pack %s: %w", p.ID, err)
	}
	p.State, p.blob = next, ""
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE evidence_pack SET state = ?, blob = '' WHERE id = ? AND blob <> ''", next, p.ID)
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.ID, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return nil
		}
		_, err = s.k.RecordTx(ctx, tx, governance.System("evidence"), governance.Record{Action: "evidence." + string(next), Tenant: p.Tenant,
			Resource: governance.RefTo(p.Kind, p.Subject), Data: map[string]any{"pack": p.ID}})
		return err
	})
}

func (s *Service) erased(ctx context.Context, ds []disclosed) (bool, error) {
	ids := make([]uuid.UUID, len(ds))
	for i, d := range ds {
		ids[i] = d.Record
	}
	kept, err := s.k.Ledger().ReadDisclosures(ctx, ids...)
	if err != nil {
		return false, err
	}
	for _, d := range ds {
		found := false
		for _, k := range kept[d.Record] {
			found = found || k.Field == d.Field
		}
		if !found {
			return true, nil
		}
	}
	return false, nil
}

// Sweep takes away packs whose time is over and those that say what has been erased
// since, and gives up those that a crash left unfinished. The kernel calls it; tests
// may.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.k.Now()
	var rows []packRow
	err := s.k.DB().Read().NewSelect().Model(&rows).Where("blob <> '' AND (expires_at <= ? OR disclosed <> '[]')", govdb.At(now)).Order("made_at").Limit(200).Scan(ctx)
	if err != nil {
		return fmt.Errorf("sweep packs: %w", err)
	}
	var errs []error
	for _, r := range rows {
		p, err := r.pack()
		if err == nil {
			err = s.settle(ctx, &p)
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE evidence_pack SET state = ? WHERE state = ? AND made_at < ?", StateFailed, StateBuilding, govdb.At(now.Add(-time.Hour)))
		return err
	}))
	return errors.Join(errs...)
}

// RecentSessions lists the newest sessions, to choose from; none where there are no
// sessions.
func (s *Service) RecentSessions(ctx context.Context, limit int) ([]oversight.Session, error) {
	if s.svc == nil {
		return nil, nil
	}
	return s.svc.Sessions(ctx, oversight.Filter{Limit: limit})
}
