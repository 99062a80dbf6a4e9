package retention_test

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/sqlsource"
)

// snake turns the SQLite script's names into those of the PostgreSQL script.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// A media shop that nobody here wrote: customers in 24 countries, invoices of 2021 to
// 2025, employees.
func TestChinook(t *testing.T) {
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		name := func(s string) string {
			if postgres {
				return snake(s)
			}
			return s
		}
		w := &world{}
		w.onStep(func(string) error { return nil })
		opts := &govtest.Options{Schemas: schemas(), Start: time.Date(2031, 6, 1, 12, 0, 0, 0, time.UTC)}
		if postgres {
			w.Env, w.host = govtest.NewPostgres(t, opts), hosttest.Postgres(t)
		} else {
			w.Env, w.host = govtest.New(t, opts), hosttest.SQLite(t)
		}
		w.host.Chinook(t)
		w.svc = newService(t, w.Env, retention.Options{BatchSize: 37})
		mask := func(column string, m sqlsource.Method, value string) sqlsource.Mask {
			return sqlsource.Mask{Column: name(column), Method: m, Value: value}
		}
		contact := []sqlsource.Mask{mask("FirstName", sqlsource.Constant, "Former"), mask("LastName", sqlsource.Constant, "Customer"), mask("Email", sqlsource.Email, ""),
			mask("Address", sqlsource.Null, ""), mask("City", sqlsource.Null, ""), mask("PostalCode", sqlsource.Null, ""), mask("Phone", sqlsource.Null, ""), mask("Fax", sqlsource.Null, "")}
		w.addSources(t, []sqlsource.Mapping{
			{Name: "invoices", Class: "invoice", Table: name("Invoice"), Key: []string{name("InvoiceId")}, Start: sqlsource.Start{Column: name("InvoiceDate"), Format: sqlsource.Timestamp},
				Country: sqlsource.Column{Column: name("BillingCountry")}, Subject: sqlsource.Column{Column: name("CustomerId")}, Delete: true,
				Children: []sqlsource.Child{{Table: name("InvoiceLine"), Columns: []string{name("InvoiceId")}, Key: []string{name("InvoiceLineId")}}}},
			{Name: "customers", Class: "contact", Table: name("Customer"), Key: []string{name("CustomerId")},
				Start:   sqlsource.Start{Column: name("InvoiceDate"), Format: sqlsource.Timestamp, Last: &sqlsource.Last{Table: name("Invoice"), Columns: []string{name("CustomerId")}}},
				Country: sqlsource.Column{Column: name("Country")}, Subject: sqlsource.Column{Column: name("CustomerId")}, Anonymise: contact},
			{Name: "employees", Class: "staff", Table: name("Employee"), Key: []string{name("EmployeeId")}, Start: sqlsource.Start{Column: name("HireDate"), Format: sqlsource.Timestamp},
				Country: sqlsource.Column{Column: name("Country")}, Anonymise: append(contact, mask("BirthDate", sqlsource.Null, ""))},
		})
		years := func(n int) retention.Period { return retention.Period{Years: n} }
		require.NoError(t, w.svc.Install(ctx, nil, []retention.Policy{
			{ID: "invoice", Title: "Invoices", Class: "invoice", Period: years(1), Action: retention.Delete},
			{ID: "contact", Title: "Customers", Class: "contact", Period: years(3), Action: retention.Anonymise},
			{ID: "contact-de", Title: "Customers in Germany", Class: "contact", Country: "DE", Period: years(10), Action: retention.Anonymise},
			{ID: "staff", Title: "Employees", Class: "staff", Period: years(20), Action: retention.Anonymise},
		}))
		_, err := w.svc.PlaceHold(ctx, w.As("ann"), retention.NewHold{Matter: "Edwards v. Chinook", Reason: "labour court", Selector: retention.Selector{Source: "employees", Key: "2"}})
		require.NoError(t, err)

		// What the law of each country leaves of 412 invoices on 1 June 2031.
		date := "CAST(" + name("InvoiceDate") + " AS TEXT)"
		country := name("BillingCountry")
		law := map[string]string{
			"Germany": "2023-01-01", "Austria": "2024-01-01", "Norway": "2026-01-01", "Denmark": "2026-01-01", "Poland": "2026-01-01", "Sweden": "2024-01-01",
			"Netherlands": "2024-01-01", "Canada": "2025-01-01", "Chile": "2025-01-01", "India": "2025-01-01", "Finland": "2025-01-01", "Hungary": "2023-06-01",
			"USA": "2024-06-01", "United Kingdom": "2025-06-01", "Ireland": "2025-06-01", "Spain": "2025-06-01", "Australia": "2026-01-01",
			"Brazil": "2000", "France": "2000", "Portugal": "2000", "Belgium": "2000", "Italy": "2021-06-01", "Argentina": "2021-06-01", "Czech Republic": "2000",
		}
		want := map[string]int{}
		for c, before := range law {
			want[c] = w.host.Int(t, "SELECT COUNT(*) FROM "+name("Invoice")+" WHERE "+country+" = '"+c+"' AND "+date+" < '"+before+"'")
		}
		p := w.plan(t, "invoices")
		require.Empty(t, p.Exceptions, "every country of the shop is in the rule pack")
		require.Len(t, p.Population, 24)
		total := 0
		for _, g := range p.Population {
			require.EqualValues(t, want[g.Written], g.Due, g.Written)
			total += want[g.Written]
		}
		require.EqualValues(t, total, p.Rows)
		require.Positive(t, p.Rows)
		lines := w.host.Int(t, "SELECT COUNT(*) FROM "+name("InvoiceLine"))

		// Customers first, while their invoices still say when they were last active.
		c := w.plan(t, "customers")
		germans := w.host.Int(t, "SELECT COUNT(*) FROM "+name("Customer")+" WHERE "+name("Country")+" = 'Germany'")
		require.EqualValues(t, 59-germans, c.Rows)
		r := w.approvedRun(t, c)
		require.Equal(t, retention.RunCompleted, r.State, r.Error)
		require.Equal(t, germans, w.host.Int(t, "SELECT COUNT(*) FROM "+name("Customer")+" WHERE "+name("Phone")+" IS NOT NULL"))
		require.Equal(t, 59-germans, w.host.Int(t, "SELECT COUNT(DISTINCT "+name("Email")+") FROM "+name("Customer")+" WHERE "+name("Email")+" LIKE '%@anonymised.invalid'"))

		r = w.approvedRun(t, p)
		require.Equal(t, retention.RunCompleted, r.State, r.Error)
		balanced(t, r.Counts)
		require.EqualValues(t, total, r.Counts.Deleted)
		require.Equal(t, 412-total, w.host.Int(t, "SELECT COUNT(*) FROM "+name("Invoice")))
		require.EqualValues(t, lines-int(r.Counts.Related), w.host.Int(t, "SELECT COUNT(*) FROM "+name("InvoiceLine")))

		s := w.plan(t, "employees")
		require.EqualValues(t, 7, s.Rows)
		require.Len(t, s.Exceptions, 1)
		require.Equal(t, retention.Held, s.Exceptions[0].State)
		r = w.approvedRun(t, s)
		require.EqualValues(t, 7, r.Counts.Anonymised)
		require.Equal(t, 1, w.host.Int(t, "SELECT COUNT(*) FROM "+name("Employee")+" WHERE "+name("LastName")+" = 'Edwards'"))
		require.Equal(t, 7, w.host.Int(t, "SELECT COUNT(*) FROM "+name("Employee")+" WHERE "+name("FirstName")+" = 'Former'"))
		x, err := w.svc.Explain(ctx, "employees", "2", time.Time{})
		require.NoError(t, err)
		require.Equal(t, retention.Held, x.Decision.State)
		require.Len(t, x.Decision.HeldBy, 1)
	})
}
