package product

import (
	"errors"
	"strconv"
	"time"

	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

func byHand(t governance.TenantState) []governance.Entitlement {
	var out []governance.Entitlement
	for _, e := range t.Entitlements {
		if e.Source == oversight.SourceHand {
			out = append(out, e)
		}
	}
	return out
}

// moreForms are refund, grant and revocation, each where there is something for it.
func moreForms(invoices []Invoice, features []string, t governance.TenantState) []form {
	why := func(name string) console.Field {
		return console.Field{Name: name, Label: "Reason", Required: true, MaxLen: 500}
	}
	var out []form
	bill := console.Field{Name: "invoice", Label: "Invoice", Kind: "select", Required: true}
	for _, i := range invoices {
		left := governance.Money{Minor: i.Money.Minor - i.Refunded.Minor, Currency: i.Money.Currency}
		if i.Paid && left.Minor > 0 {
			bill.Options = append(bill.Options, console.Option{Value: i.Number, Text: console.FormatMoney(left) + " left of " + i.Number})
		}
	}
	if len(bill.Options) > 0 {
		out = append(out, form{Title: "Refund", Path: "refunds", Button: "Refund", Note: "Never more than was paid. Held for approval when credits and refunds over 24 hours would pass the limit.",
			Fields: []console.Field{bill, {Name: "refund_amount", Label: "Amount to refund", Required: true, MaxLen: 20, Placeholder: "5.00"}, why("refund_reason")}})
	}
	has := map[string]bool{}
	for _, e := range t.Entitlements {
		has[e.Feature] = e.Source != oversight.SourceHand
	}
	feature := console.Field{Name: "feature", Label: "Feature", Kind: "select", Required: true}
	for _, f := range features {
		if !has[f] {
			feature.Options = append(feature.Options, console.Option{Value: f, Text: console.Humanize(f)})
		}
	}
	if len(feature.Options) > 0 {
		out = append(out, form{Title: "Give a feature", Path: "grants", Button: "Give feature", Note: "It ends by itself. Held for approval when a tenant is given many days.",
			Fields: []console.Field{feature, {Name: "quantity", Label: "Quantity, 0 is unlimited", MaxLen: 12, Value: "0"}, {Name: "days", Label: "For how many days", Required: true, MaxLen: 3, Placeholder: "14"}, why("grant_reason")}})
	}
	taken := console.Field{Name: "taken", Label: "Given feature", Kind: "select", Required: true}
	for _, e := range byHand(t) {
		taken.Options = append(taken.Options, console.Option{Value: e.Feature, Text: console.Humanize(e.Feature)})
	}
	if len(taken.Options) > 0 {
		out = append(out, form{Title: "Take a feature back", Path: "revocations", Button: "Take back", Note: "What was given by hand, at once.", Fields: []console.Field{taken, why("revoke_reason")}})
	}
	return out
}

func (p pages) refund(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "refund_reason")
	if err != nil {
		return done(c, "", err)
	}
	tenant := governance.TenantID(c.Path("id"))
	invoices, err := p.svc.Invoices(c.Context(), tenant, 200)
	if err != nil {
		return done(c, "", err)
	}
	for _, i := range invoices {
		if i.Number != c.Form("invoice") {
			continue
		}
		m, err := governance.ParseMoney(c.Form("refund_amount"), i.Money.Currency)
		if err != nil {
			return done(c, "", governance.Invalid("refund_amount", "is no amount of %s", i.Money.Currency))
		}
		if m.Minor <= 0 {
			return done(c, "", governance.Invalid("refund_amount", "is not more than nothing"))
		}
		left := governance.Money{Currency: i.Money.Currency}
		if i.Paid {
			left.Minor = i.Money.Minor - i.Refunded.Minor
		}
		_, err = p.svc.Refund(c.Context(), c.Identity, tenant, i.Number, m, opts)
		if errors.Is(err, governance.ErrConflict) && m.Minor > left.Minor { // asked second: a form that is sent twice is answered twice
			err = governance.Invalid("refund_amount", "is more than the %s that are left", console.FormatMoney(left))
		}
		return done(c, "The money was refunded.", err)
	}
	return done(c, "", governance.Invalid("invoice", "is none of this tenant"))
}

func (p pages) grant(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "grant_reason")
	days, derr := strconv.Atoi(c.Form("days"))
	if derr != nil || days < 1 || days > 366 {
		err = errors.Join(err, governance.Invalid("days", "is not a number from 1 to 366"))
	}
	quantity, qerr := strconv.ParseInt(c.Form("quantity"), 10, 64)
	if c.Form("quantity") == "" {
		quantity, qerr = 0, nil
	}
	if qerr != nil {
		err = errors.Join(err, governance.Invalid("quantity", "is not a number"))
	}
	if err != nil {
		return done(c, "", err)
	}
	until := p.svc.k.Now().Add(time.Duration(days) * 24 * time.Hour)
	_, err = p.svc.Grant(c.Context(), c.Identity, governance.TenantID(c.Path("id")), c.Form("feature"), quantity, until, opts)
	return done(c, "The feature was given.", err)
}

func (p pages) revoke(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "revoke_reason")
	if err == nil {
		_, err = p.svc.Revoke(c.Context(), c.Identity, governance.TenantID(c.Path("id")), c.Form("taken"), opts)
	}
	return done(c, "The feature was taken back.", err)
}
