package findings

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// Sample is one executed action as an auditor samples it. Every figure of [Share] and
// [Credits] counts samples, and [Service.Samples] gives those it counts.
type Sample struct {
	ID       uuid.UUID
	At       time.Time // executed
	Action   string
	Who      string
	Tenant   governance.TenantID
	Reason   string
	Ticket   string
	Enforced bool  // a policy in force had a say
	Held     bool  // people approved it first
	Limit    Limit // how it stood to the limits that counted it
	Money    governance.Money
	In       governance.Money // Money in the currency of the figures, by the rate stored with the decision; without one, empty
	Rate     *governance.Rate
}

// Limit is how an action stood to its limits.
type Limit string

// The ways to stand to a limit.
const (
	NoLimit    Limit = "none"
	UnderLimit Limit = "under"
	OverLimit  Limit = "over"
	NotOver    Limit = "not_over" // in a filter: none or under
)

// SampleFilter selects samples of a period [From, To), both required.
type SampleFilter struct {
	From, To time.Time
	Action   string
	Who      string
	Reason   *string // exactly this one, the empty one included
	Enforced *bool
	Limit    Limit
	Credits  bool // credits and refunds only
	Limited  int  // most of them; 0 is all
}

func credits() []string { return []string{oversight.ActionCredit, oversight.ActionRefund} }

// Catalogue is the names of the actions that count as sensitive, sorted.
func (s *Service) Catalogue() []string {
	names := append(s.k.SensitiveActions(), s.opts.Catalogue...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Currency is the currency of the figures.
func (s *Service) Currency() string { return s.opts.Currency }

// Samples lists the sensitive actions that were executed in a period, oldest first.
func (s *Service) Samples(ctx context.Context, f SampleFilter) ([]Sample, error) {
	names := s.Catalogue()
	if f.Credits {
		names = credits()
	}
	if f.Action != "" {
		if !slices.Contains(names, f.Action) {
			return []Sample{}, nil
		}
		names = []string{f.Action}
	}
	out := []Sample{}
	err := s.k.Entries(ctx, governance.EntryFilter{From: f.From, To: f.To, Executed: true, Names: names}, func(e governance.Entry) error {
		x := s.sample(e)
		if f.Who != "" && x.Who != f.Who || f.Reason != nil && x.Reason != *f.Reason || f.Enforced != nil && x.Enforced != *f.Enforced || f.Limit != "" && x.Limit != f.Limit && (f.Limit != NotOver || x.Limit == OverLimit) {
			return nil
		}
		if f.Limited == 0 || len(out) < f.Limited {
			out = append(out, x)
		}
		return nil
	})
	return out, err
}

func (s *Service) sample(e governance.Entry) Sample {
	x := Sample{ID: e.ID, At: e.ExecutedAt, Action: e.Action, Who: whoOf(e.Requester), Tenant: e.Tenant, Reason: e.Reason, Ticket: e.Ticket, Enforced: e.Enforced(), Held: e.Held, Limit: NoLimit}
	for _, m := range e.Measures {
		if c, ok := strings.CutSuffix(m.Unit, ".cent"); ok && governance.ValidCurrency(c) {
			x.Money = governance.Money{Minor: m.Value, Currency: c}
			break
		}
	}
	if x.Money.Currency == s.opts.Currency {
		x.In = x.Money
	}
	for _, p := range e.Policies {
		for _, l := range p.Limits {
			switch {
			case l.Exceeds:
				x.Limit = OverLimit
			case x.Limit == NoLimit:
				x.Limit = UnderLimit
			}
			if x.In.Currency == "" && x.Money.Currency != "" && l.Rate != nil && l.Rate.From == x.Money.Currency && l.Rate.To == s.opts.Currency {
				if in, err := l.Rate.ConvertUp(x.Money); err == nil {
					x.In, x.Rate = in, l.Rate
				}
			}
		}
	}
	return x
}

// Share is how many of the sensitive actions of a period ran under a policy in force.
type Share struct {
	From, To time.Time
	Actions  []ShareLine
	Enforced int
	Total    int
}

// ShareLine is the share of one action.
type ShareLine struct {
	Action   string
	Enforced int
	Total    int
}

// Share counts [Service.Samples] by action. An action nobody did has a line of zeros.
func (s *Service) Share(ctx context.Context, from, to time.Time) (Share, error) {
	out := Share{From: from, To: to}
	all, err := s.Samples(ctx, SampleFilter{From: from, To: to})
	if err != nil {
		return out, err
	}
	for _, name := range s.Catalogue() {
		l := ShareLine{Action: name}
		for _, x := range all {
			if x.Action != name {
				continue
			}
			l.Total++
			if x.Enforced {
				l.Enforced++
			}
		}
		out.Total, out.Enforced = out.Total+l.Total, out.Enforced+l.Enforced
		out.Actions = append(out.Actions, l)
	}
	return out, nil
}

// Credits is the credits and refunds of a period, in one currency.
type Credits struct {
	From, To  time.Time
	Currency  string
	ByPerson  []CreditLine
	ByReason  []CreditLine
	Total     CreditLine
	Unpriced  int // counted, but in no sum: no rate was stored with their decision
	Unlimited int // had no limit at all; they are among Under
}

// CreditLine is the credits of one person, or for one reason.
type CreditLine struct {
	Key         string
	UnderCount  int
	OverCount   int
	Under, Over governance.Money
}

func (l *CreditLine) add(x Sample, currency string) {
	sum, n := &l.Under, &l.UnderCount
	if x.Limit == OverLimit {
		sum, n = &l.Over, &l.OverCount
	}
	*n++
	sum.Minor += x.In.Minor
	l.Under.Currency, l.Over.Currency = currency, currency
}

// Credits sums [Service.Samples] with Credits by who asked and by the reason given, over
// and under the limit. Money is converted by the rate stored with each decision, so that
// the figures of a past period never change.
func (s *Service) Credits(ctx context.Context, from, to time.Time) (Credits, error) {
	out := Credits{From: from, To: to, Currency: s.opts.Currency, Total: CreditLine{Under: governance.Money{Currency: s.opts.Currency}, Over: governance.Money{Currency: s.opts.Currency}}}
	all, err := s.Samples(ctx, SampleFilter{From: from, To: to, Credits: true})
	if err != nil {
		return out, err
	}
	who, why := map[string]*CreditLine{}, map[string]*CreditLine{}
	for _, x := range all {
		for key, m := range map[string]map[string]*CreditLine{x.Who: who, "\x00" + x.Reason: why} {
			key = strings.TrimPrefix(key, "\x00")
			if m[key] == nil {
				m[key] = &CreditLine{Key: key}
			}
			m[key].add(x, out.Currency)
		}
		out.Total.add(x, out.Currency)
		if x.In.Currency == "" {
			out.Unpriced++
		}
		if x.Limit == NoLimit {
			out.Unlimited++
		}
	}
	out.ByPerson, out.ByReason = sortedLines(who), sortedLines(why)
	return out, nil
}

func sortedLines(m map[string]*CreditLine) []CreditLine {
	out := make([]CreditLine, 0, len(m))
	for _, l := range m {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b CreditLine) int {
		if d := (b.Under.Minor + b.Over.Minor) - (a.Under.Minor + a.Over.Minor); d != 0 {
			return map[bool]int{true: 1, false: -1}[d > 0]
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out
}

// Export writes samples as CSV. That they were taken is recorded first.
func (s *Service) Export(ctx context.Context, id governance.Identity, f SampleFilter, w io.Writer) error {
	all, err := s.Samples(ctx, f)
	if err != nil {
		return err
	}
	if err := s.recordExport(ctx, id, "samples", f.From, f.To, len(all)); err != nil {
		return err
	}
	rows := [][]string{{"executed_at", "id", "action", "who", "tenant", "reason", "ticket", "enforced", "held", "limit", "amount", "currency", "amount_" + strings.ToLower(s.opts.Currency), "rate_micro", "rate_date", "rate_source"}}
	for _, x := range all {
		r := []string{x.At.Format(time.RFC3339Nano), x.ID.String(), x.Action, x.Who, string(x.Tenant), x.Reason, x.Ticket, fmt.Sprint(x.Enforced), fmt.Sprint(x.Held), string(x.Limit), "", x.Money.Currency, "", "", "", ""}
		if x.Money.Currency != "" {
			r[10] = x.Money.Amount()
		}
		if x.In.Currency != "" {
			r[12] = x.In.Amount()
		}
		if x.Rate != nil {
			r[13], r[14], r[15] = fmt.Sprint(x.Rate.Micro), x.Rate.Date, x.Rate.Source
		}
		rows = append(rows, r)
	}
	return writeCSV(w, rows)
}

// ExportShare writes the share of a period as CSV.
func (s *Service) ExportShare(ctx context.Context, id governance.Identity, from, to time.Time, w io.Writer) error {
	sh, err := s.Share(ctx, from, to)
	if err != nil {
		return err
	}
	if err := s.recordExport(ctx, id, "share", from, to, sh.Total); err != nil {
		return err
	}
	rows := [][]string{{"from", "to", "action", "enforced", "total"}}
	for _, l := range sh.Actions {
		rows = append(rows, []string{from.Format(time.RFC3339), to.Format(time.RFC3339), l.Action, fmt.Sprint(l.Enforced), fmt.Sprint(l.Total)})
	}
	return writeCSV(w, rows)
}

// ExportCredits writes the credits of a period as CSV.
func (s *Service) ExportCredits(ctx context.Context, id governance.Identity, from, to time.Time, w io.Writer) error {
	c, err := s.Credits(ctx, from, to)
	if err != nil {
		return err
	}
	if err := s.recordExport(ctx, id, "credits", from, to, c.Total.UnderCount+c.Total.OverCount); err != nil {
		return err
	}
	rows := [][]string{{"from", "to", "by", "key", "currency", "under_count", "under", "over_count", "over"}}
	for by, ls := range map[string][]CreditLine{"person": c.ByPerson, "reason": c.ByReason} {
		for _, l := range ls {
			rows = append(rows, []string{from.Format(time.RFC3339), to.Format(time.RFC3339), by, l.Key, c.Currency, fmt.Sprint(l.UnderCount), l.Under.Amount(), fmt.Sprint(l.OverCount), l.Over.Amount()})
		}
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[2], b[2]) })
	return writeCSV(w, rows)
}

func (s *Service) recordExport(ctx context.Context, id governance.Identity, what string, from, to time.Time, n int) error {
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "audit.export", Outcome: governance.OutcomeObserved, Data: map[string]any{"what": what, "from": from, "to": to, "actions": n}})
		return err
	})
}

func writeCSV(w io.Writer, rows [][]string) error {
	for _, r := range rows {
		for i, cell := range r {
			if strings.IndexAny(cell, "=+-@\t\r") == 0 { // a spreadsheet would run it
				r[i] = "'" + cell
			}
		}
	}
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}
