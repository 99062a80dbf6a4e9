package analytics

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/schedule"
)

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	Reporting string         // currency of the figures; default EUR
	Zone      *time.Location // in which days begin and end; default UTC; facts keep the day they were given
	Daily     string         // cron of the daily refresh in Zone; default "15 2 * * *"
}

// Service takes facts and gives figures. Use [New].
type Service struct {
	k       *governance.Kernel
	w       Warehouse
	opts    Options
	owner   string // of the refresh lease
	refresh *governance.Action[RefreshInput]
}

// New makes a Service whose marts stand in w. The database must have [Schema] and
// the warehouse's own.
func New(k *governance.Kernel, w Warehouse, opts *Options) (*Service, error) {
	if k == nil || w == nil {
		return nil, errors.New("analytics: kernel and warehouse are required")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Reporting == "" {
		o.Reporting = "EUR"
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Daily == "" {
		o.Daily = "15 2 * * *"
	}
	if !governance.ValidCurrency(o.Reporting) {
		return nil, fmt.Errorf("analytics: Reporting is %q, want an ISO 4217 code", o.Reporting)
	}
	s := &Service{k: k, w: w, opts: o, owner: uuid.NewString()}
	s.refresh = s.defineRefresh()
	if err := k.Register(s.refresh); err != nil {
		return nil, fmt.Errorf("analytics: %w", err)
	}
	return s, nil
}

// Kernel is the kernel that the Service was made with.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Reporting is the currency of the figures.
func (s *Service) Reporting() string { return s.opts.Reporting }

// Zone is where days begin and end.
func (s *Service) Zone() *time.Location { return s.opts.Zone }

// Jobs are what has to run at a time of day: the daily refresh.
func (s *Service) Jobs() []schedule.Job {
	return []schedule.Job{{
		Name: "analytics.refresh", Spec: schedule.Spec{Cron: s.opts.Daily, Zone: s.opts.Zone},
		Run: func(ctx context.Context, _ time.Time) error {
			_, err := s.Refresh(ctx, governance.System("analytics"), "daily refresh")
			return err
		},
	}}
}

// Policies are the default policies of analytics: there are none, since neither
// facts nor a refresh can harm a tenant.
func Policies() []governance.Policy { return nil }

func (s *Service) at(t time.Time) govdb.Micros { return govdb.At(t) }

// today is the day it is now, in the reporting zone.
func (s *Service) today() Day { return DayOf(s.k.Now(), s.opts.Zone) }

func (s *Service) money(minor int64) governance.Money {
	return governance.Money{Minor: minor, Currency: s.opts.Reporting}
}

// chunks cuts a slice into parts of at most n.
func chunks[T any](all []T, n int) iter.Seq[[]T] { return slices.Chunk(all, n) }

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
