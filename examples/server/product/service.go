package product

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// Options tunes a Service. Blobs and LinkKey are required.
type Options struct {
	Blobs   recorder.BlobStore // where export files are kept
	LinkKey []byte             // signs download links; at least 32 bytes, the same on every server

	Plans []Plan // the catalogue; default [DefaultPlans]

	LinkFor   time.Duration // how long a download link is good; default 15m
	ExportFor time.Duration // how long an export's file is kept; default 24h

	// OnPlanChange runs in the commit of a plan change, for what else must know:
	// analytics gets its subscription fact here.
	OnPlanChange func(ctx context.Context, tx *governance.Tx, id governance.Identity, c PlanChanged) error
}

// PlanChanged is a plan change that is being committed.
type PlanChanged struct {
	Tenant   governance.TenantID
	From, To string
	Seats    int64
	Before   governance.Money // monthly recurring revenue
	After    governance.Money
	At       time.Time
}

// Service runs the product's guarded operations. Use [New].
type Service struct {
	k    *governance.Kernel
	opts Options

	plan   *governance.Action[oversight.PlanChange]
	credit *governance.Action[oversight.Credit]
	export *governance.Action[oversight.Export]
	refund *governance.Action[oversight.Refund]
	grants *oversight.Grants
}

// New makes a Service and registers its actions.
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil || opts == nil || opts.Blobs == nil {
		return nil, errors.New("product: a kernel and Options.Blobs are required")
	}
	o := *opts
	if len(o.LinkKey) < 32 {
		return nil, fmt.Errorf("product: LinkKey has %d bytes, want at least 32", len(o.LinkKey))
	}
	if o.Plans == nil {
		o.Plans = DefaultPlans()
	}
	if o.LinkFor == 0 {
		o.LinkFor = 15 * time.Minute
	}
	if o.ExportFor == 0 {
		o.ExportFor = 24 * time.Hour
	}
	s := &Service{k: k, opts: o}
	s.plan = governance.Define(oversight.ActionPlan, oversight.PlanSpec(s.quoteTx), s.changePlanTx)
	s.credit = governance.Define(oversight.ActionCredit, oversight.CreditSpec(s.mayCreditTx, s.Currencies()...), s.creditTx)
	s.export = governance.DefineRemote(oversight.ActionExport, oversight.ExportSpec(Datasets(), s.countTx), governance.Remote[oversight.Export]{Call: s.callExport, Lookup: s.lookupExport})
	s.refund = governance.Define(oversight.ActionRefund, oversight.RefundSpec(s.quoteRefundTx, s.Currencies()...), s.refundTx)
	if err := k.Register(s.plan, s.credit, s.export, s.refund); err != nil {
		return nil, err
	}
	var err error
	if s.grants, err = oversight.NewGrants(k, s.Features()...); err != nil {
		return nil, err
	}
	k.ContactsBy(s.Contacts)
	k.Background("product.exports", time.Minute, s.RemoveExpired)
	return s, nil
}

// Kernel is the kernel this service was made on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// openTenantTx reads a tenant that something may still happen to.
func (s *Service) openTenantTx(ctx context.Context, tx *governance.Tx, tenant governance.TenantID) (governance.TenantState, error) {
	st, err := s.k.TenantStateTx(ctx, tx, tenant)
	if err != nil {
		return st, err
	}
	if st.Tenant.Status == governance.TenantClosed {
		return st, fmt.Errorf("tenant %s is closed: %w", tenant, governance.ErrConflict)
	}
	return st, nil
}
