package access

import (
	"errors"
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
)

// PermissionRead sees the access list and the campaigns, and lets a reviewer decide.
const PermissionRead = "user:read"

// PermissionWrite starts a campaign.
const PermissionWrite = "user:write"

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	Every     time.Duration        // a campaign starts by itself this long after the one before; default 90 days, negative: never
	Within    time.Duration        // how long it may take; default 14 days
	Reviewers []governance.GroupID // whose members review one that starts by itself; default super_admin and gov_approver
}

// Service answers who had access, and runs campaigns. Use [New].
type Service struct {
	k     *governance.Kernel
	db    *govdb.DB
	auth  *govauth.Service
	hist  *History
	opts  Options
	start *governance.Action[Start]
}

// New makes a Service and registers its action and its background work with the
// kernel. auth must tell its
// changes to h: an access list that misses changes is worse than none.
func New(k *governance.Kernel, auth *govauth.Service, h *History, opts *Options) (*Service, error) {
	if k == nil || auth == nil || h == nil {
		return nil, errors.New("access: kernel, people and history are required")
	}
	if k.DB() != h.db || auth.Kernel() != k {
		return nil, errors.New("access: kernel, people and history are on different databases")
	}
	if !auth.TellsChanges() {
		return nil, errors.New("access: govauth.Options.OnChange is not set; give it History.Keep")
	}
	s := &Service{k: k, db: k.DB(), auth: auth, hist: h}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Every == 0 {
		s.opts.Every = 90 * 24 * time.Hour
	}
	if s.opts.Within == 0 {
		s.opts.Within = 14 * 24 * time.Hour
	}
	if s.opts.Within < time.Hour {
		return nil, fmt.Errorf("access: Within is %s, want at least an hour", s.opts.Within)
	}
	if len(s.opts.Reviewers) == 0 {
		s.opts.Reviewers = []governance.GroupID{govauth.RoleSuperAdmin, govauth.RoleApprover}
	}
	s.start = s.startAction()
	if err := k.Register(s.start); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	k.Background("access.reconcile", 30*time.Minute, s.Reconcile)
	k.Background("access.campaigns", 5*time.Minute, s.Tick)
	return s, nil
}

// Kernel is the kernel the service works with.
func (s *Service) Kernel() *governance.Kernel { return s.k }
