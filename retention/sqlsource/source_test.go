package sqlsource_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/rulepack"
	"github.com/reevehq/reeve/retention/sourcetest"
	"github.com/reevehq/reeve/retention/sqlsource"
)

func resolver(t testing.TB, policies []retention.Policy, holds ...retention.Hold) *retention.Resolver {
	t.Helper()
	js, err := rulepack.Jurisdictions()
	require.NoError(t, err)
	rules, err := rulepack.Rules()
	require.NoError(t, err)
	var rv []retention.RuleVersion
	for _, r := range rules {
		rv = append(rv, retention.RuleVersion{Rule: r, Version: 1})
	}
	var pv []retention.PolicyVersion
	for _, p := range policies {
		require.NoError(t, p.Validate())
		pv = append(pv, retention.PolicyVersion{Policy: p, Version: 1})
	}
	r, err := retention.NewResolver(js, rv, pv, holds)
	require.NoError(t, err)
	return r
}

func target(class, period string, a retention.Action) retention.Policy {
	p, err := retention.ParsePeriod(period)
	if err != nil {
		panic(err)
	}
	return retention.Policy{ID: class, Title: class, Class: class, Period: p, Action: a}
}

func hold(sel retention.Selector) retention.Hold {
	return retention.Hold{ID: governance.NewID[retention.Hold](), Selector: sel}
}

var asOf = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

// The rows a database selects are the rows the resolver calls due, whatever the
// column's form: NULL and unreadable dates, 29 February, ends of years, the hours
// around midnight in three zones.
func TestSelectionIsTheResolver(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	type variant struct {
		name, liteType, pgType string
		start                  sqlsource.Start
		literal                func(t time.Time, pg bool) string // SQL text of the value
		day                    bool
		step                   time.Duration
	}
	q := func(s string) string { return "'" + s + "'" }
	variants := []variant{
		{"timestamp", "DATETIME", "TIMESTAMP", sqlsource.Start{Format: sqlsource.Timestamp}, func(t time.Time, _ bool) string { return q(t.UTC().Format("2006-01-02 15:04:05")) }, false, time.Second},
		{"local", "TEXT", "TIMESTAMP", sqlsource.Start{Format: sqlsource.Timestamp, Zone: "Europe/Berlin"}, func(t time.Time, _ bool) string { return q(t.In(berlin).Format("2006-01-02 15:04:05")) }, false, time.Second},
		{"offset", "TEXT", "TIMESTAMPTZ", sqlsource.Start{Format: sqlsource.Timestamp}, func(t time.Time, _ bool) string {
			return q(t.In(time.FixedZone("", 3*3600)).Format("2006-01-02T15:04:05.000-07:00"))
		}, false, time.Millisecond},
		{"date", "DATE", "DATE", sqlsource.Start{Format: sqlsource.Date}, func(t time.Time, _ bool) string { return q(t.UTC().Format(time.DateOnly)) }, true, 24 * time.Hour},
		{"text", "TEXT", "TEXT", sqlsource.Start{Format: sqlsource.Date}, func(t time.Time, _ bool) string { return q(t.UTC().Format("2006-01-02T15:04")) }, true, 24 * time.Hour},
		{"unix", "INTEGER", "BIGINT", sqlsource.Start{Format: sqlsource.Unix}, func(t time.Time, _ bool) string { return strconv.FormatInt(t.Unix(), 10) }, false, time.Second},
		{"milli", "INTEGER", "BIGINT", sqlsource.Start{Format: sqlsource.UnixMilli}, func(t time.Time, _ bool) string { return strconv.FormatInt(t.UnixMilli(), 10) }, false, time.Millisecond},
	}
	countries := []string{"DE", "Germany", "US", "USA", "Japan", "IN", "GB", "", "Atlantis"}
	hosttest.Each(t, func(t *testing.T, h hosttest.Host) {
		ctx := context.Background()
		r := rand.New(rand.NewPCG(4, 2))
		held := hold(retention.Selector{Subject: "s7"})
		res := resolver(t, []retention.Policy{target("invoice", "P2Y", retention.Delete), target("access_log", "P1Y", retention.Delete)}, held)
		for _, v := range variants {
			for _, class := range []string{"invoice", "access_log"} {
				typ := v.liteType
				if h.Postgres {
					typ = v.pgType
				}
				name := "t_" + v.name + "_" + class
				h.Exec(t, "CREATE TABLE "+name+" (id INTEGER PRIMARY KEY, at "+typ+", country TEXT, subject TEXT)")
				want := map[string]retention.State{}
				counts := map[retention.State]int64{}
				var values []string
				src, err := sqlsource.New(ctx, h.DB, sqlsource.Mapping{Name: "host", Class: class, Table: name, Key: []string{"id"},
					Start: sqlsource.Start{Column: "at", Format: v.start.Format, Zone: v.start.Zone, Open: class == "access_log"}, Country: sqlsource.Column{Column: "country"}, Subject: sqlsource.Column{Column: "subject"}, Delete: true},
					&sqlsource.Options{PageSize: 97})
				require.NoError(t, err)
				for id := range 1500 {
					country := countries[r.IntN(len(countries))]
					f := retention.Facts{Source: "host", Class: class, Key: strconv.Itoa(id), Country: country, Subject: "s" + strconv.Itoa(r.IntN(60)), HasStart: true, StartIsDay: v.day}
					cut := res.Cutoff("host", class, country, asOf)
					switch r.IntN(12) {
					case 0:
						f.Start = time.Date(2000+4*r.IntN(7), 2, 29, r.IntN(24), 59, 59, 0, time.UTC)
					case 1:
						f.Start = time.Date(2010+r.IntN(16), 12, 31, 20+r.IntN(4), r.IntN(60), 0, 0, time.UTC)
					case 2, 3, 4:
						f.Start = time.Unix(1000000000+r.Int64N(800000000), 0).UTC()
						if cut.State == "" { // the seconds around the cut
							f.Start = cut.Instant(cut.Due).Add(time.Duration(r.IntN(5)-2) * v.step).UTC()
						}
					case 5:
						f.Start = time.Unix(0, 0).UTC()
					case 6:
						f.HasStart, f.NotBegun = false, class == "access_log"
					default:
						f.Start = time.Unix(1000000000+r.Int64N(800000000), 0).UTC()
					}
					literal := "NULL"
					if f.HasStart {
						literal = v.literal(f.Start, h.Postgres)
					}
					if v.day {
						f.Start = f.Start.Truncate(24 * time.Hour)
					}
					f.Implausible = f.HasStart && f.Start.Unix() == 0
					if v.name == "local" { // there the default is a wall clock
						wall := f.Start.In(berlin)
						f.Implausible = f.HasStart && wall.Format("2006-01-02 15:04:05") == "1970-01-01 00:00:00"
					}
					written := "NULL"
					if country != "" {
						written = q(country)
					}
					values = append(values, fmt.Sprintf("(%d, %s, %s, '%s')", id, literal, written, f.Subject))
					state, _ := res.Decide(f, asOf)
					want[f.Key] = state
					if state == retention.Held { // the population counts held rows by what they would be
						f.Subject = ""
						state, _ = res.Decide(f, asOf)
					}
					counts[state]++
				}
				h.Exec(t, "INSERT INTO "+name+" VALUES "+strings.Join(values, ", "))
				got := map[string]bool{}
				pop, err := src.Plan(ctx, retention.Selection{AsOf: asOf, Soon: asOf.AddDate(0, 0, 30), Resolver: res}, func(f retention.Facts) error {
					require.False(t, got[f.Key], "a row comes once")
					got[f.Key] = true
					state, _ := res.Decide(f, asOf)
					require.Equal(t, want[f.Key], state, "%s: what the source read of row %s differs: %+v", name, f.Key, f)
					return nil
				})
				require.NoError(t, err)
				for key, state := range want {
					switch state {
					case retention.Due:
						require.True(t, got[key], "%s: row %s is due and was not selected", name, key)
					case retention.Held:
					default:
						require.False(t, got[key], "%s: row %s is %s and was selected", name, key, state)
					}
				}
				sum := map[retention.State]int64{}
				for _, g := range pop.Groups {
					if g.State != "" {
						sum[g.State] += g.Total
						continue
					}
					sum[retention.Due] += g.Due
					sum[retention.Conflict] += g.Conflict
					sum[retention.NoStart] += g.NoStart
					sum[retention.Implausible] += g.Implausible
					sum[retention.Kept] += g.Total - g.Due - g.Conflict - g.NoStart - g.Implausible
				}
				for state, n := range counts {
					require.Equal(t, n, sum[state], "%s: rows that are %s", name, state)
				}
			}
		}
	})
}

const lite = "host"

func documents() sqlsource.Mapping {
	return sqlsource.Mapping{Name: lite, Class: "invoice", Table: "doc", Key: []string{"region", "no"}, Start: sqlsource.Start{Column: "issued", Format: sqlsource.Date},
		Country: sqlsource.Column{Constant: "DE"}, Subject: sqlsource.Column{Column: "owner"}, Delete: true,
		Children: []sqlsource.Child{{Table: "page", Class: "scan", Columns: []string{"doc_region", "doc_no"}, Key: []string{"id"},
			Children: []sqlsource.Child{{Table: "word", Columns: []string{"page_id"}, Key: []string{"id"}}}}}}
}

// makeDocuments fills doc, page and word: n due documents with two pages of one word
// each, and one young document.
func makeDocuments(t testing.TB, h hosttest.Host, n int) {
	h.Exec(t, "CREATE TABLE doc (region TEXT NOT NULL, no INTEGER NOT NULL, issued DATE, owner TEXT, PRIMARY KEY (region, no))",
		"CREATE TABLE page (id INTEGER PRIMARY KEY, doc_region TEXT NOT NULL, doc_no INTEGER NOT NULL, FOREIGN KEY (doc_region, doc_no) REFERENCES doc (region, no))",
		"CREATE INDEX page_doc ON page (doc_region, doc_no)",
		"CREATE TABLE word (id TEXT PRIMARY KEY, page_id INTEGER REFERENCES page (id))", "CREATE INDEX word_page ON word (page_id)",
		"CREATE TABLE dispute (id INTEGER PRIMARY KEY, region TEXT, no INTEGER, FOREIGN KEY (region, no) REFERENCES doc (region, no))",
		"INSERT INTO doc VALUES ('young', 1, '2025-12-01', 'x')")
	for i := range n {
		h.Exec(t, fmt.Sprintf("INSERT INTO doc VALUES ('a''b', %d, '2010-05-01', 'o%d')", i, i%5),
			fmt.Sprintf("INSERT INTO page VALUES (%d, 'a''b', %d), (%d, 'a''b', %d)", 2*i, i, 2*i+1, i),
			fmt.Sprintf("INSERT INTO word VALUES ('w%d', %d), ('v%d', %d)", i, 2*i, i, 2*i+1))
	}
}

func key(i int) string { return fmt.Sprintf(`["a'b",%d]`, i) }

func keys(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, key(i))
	}
	return out
}

func batch(r *retention.Resolver, seq int, ks ...string) retention.Batch {
	return retention.Batch{Run: "run-1", Seq: seq, Keys: ks, AsOf: asOf, Resolver: r, Action: retention.Delete, Secret: make([]byte, 32), Salt: []byte("salt"), Budget: 1000}
}

func TestApply(t *testing.T) {
	policies := []retention.Policy{target("invoice", "P2Y", retention.Delete)}
	hosttest.Each(t, func(t *testing.T, h hosttest.Host) {
		ctx := context.Background()
		makeDocuments(t, h, 40)
		step := ""
		src, err := sqlsource.New(ctx, h.DB, documents(), &sqlsource.Options{Step: func(s string) error {
			if s == step {
				return fmt.Errorf("crash at %s", s)
			}
			return nil
		}})
		require.NoError(t, err)
		// An apostrophe in a key, and a document that a dispute refers to.
		h.Exec(t, "INSERT INTO dispute VALUES (1, 'a''b', 3), (2, 'a''b', 4)")
		free := resolver(t, policies)

		n, err := src.Related(ctx, keys(0, 10))
		require.NoError(t, err)
		require.EqualValues(t, 40, n)

		for _, step = range []string{"begin", "decided", "children", "commit"} {
			_, err = src.Apply(ctx, batch(free, 0, keys(0, 10)...))
			require.ErrorContains(t, err, "crash")
			require.Equal(t, 41, h.Int(t, "SELECT COUNT(*) FROM doc"), "a batch that crashed at %s left nothing behind", step)
			require.Equal(t, 80, h.Int(t, "SELECT COUNT(*) FROM word"))
			done, err := src.Applied(ctx, "run-1")
			require.NoError(t, err)
			require.Empty(t, done)
		}
		step = "committed" // the crash after the commit: the answer is lost, the work is not
		_, err = src.Apply(ctx, batch(free, 0, keys(0, 10)...))
		require.ErrorContains(t, err, "crash")
		step = ""
		res, err := src.Apply(ctx, batch(free, 0, keys(0, 10)...))
		require.NoError(t, err)
		require.True(t, res.Replayed)
		require.Equal(t, retention.Counts{Planned: 10, Deleted: 8, Failed: 2, Related: 32}, res.Counts)
		require.Equal(t, []string{key(3), key(4)}, []string{res.Items[0].Key, res.Items[1].Key})
		require.Equal(t, retention.Failed, res.Items[0].Outcome)
		require.Contains(t, res.Items[0].Reason, "refer to it")
		require.Equal(t, 41-8, h.Int(t, "SELECT COUNT(*) FROM doc"))
		require.Equal(t, 4, h.Int(t, "SELECT COUNT(*) FROM page WHERE doc_no IN (3, 4)"), "a refused row keeps what goes with it")
		require.Equal(t, 80-16, h.Int(t, "SELECT COUNT(*) FROM word"))

		// What changed since the plan is left alone and listed.
		h.Exec(t, "UPDATE doc SET issued = '2026-02-01' WHERE no = 10", "DELETE FROM word WHERE id IN ('w11', 'v11')", "DELETE FROM page WHERE doc_no = 11", "DELETE FROM doc WHERE no = 11")
		res, err = src.Apply(ctx, batch(free, 1, key(10), key(11), key(12)))
		require.NoError(t, err)
		require.Equal(t, retention.Counts{Planned: 3, Deleted: 1, Changed: 2, Related: 4}, res.Counts)
		require.Equal(t, "no longer due: kept", res.Items[0].Reason)
		require.Equal(t, "gone", res.Items[1].Reason)

		// Holds: on the row, on its subject, on a class that goes with it, on a row deep below.
		for name, sel := range map[string]retention.Selector{
			"row": {Source: lite, Key: key(13)}, "subject": {Subject: "o3"}, "page": {Source: lite, Child: "page", Key: "26"}, "word": {Source: lite, Child: "word", Key: `"v13"`},
		} {
			res, err := src.Apply(ctx, func() retention.Batch {
				b := batch(resolver(t, policies, hold(sel)), 0, key(13))
				b.Run = "held-" + name
				return b
			}())
			require.NoError(t, err)
			require.Equal(t, retention.Counts{Planned: 1, Held: 1}, res.Counts, name)
		}
		require.Equal(t, 1, h.Int(t, "SELECT COUNT(*) FROM doc WHERE no = 13"))
		b := batch(resolver(t, policies, hold(retention.Selector{Class: "scan"})), 0, keys(13, 20)...)
		b.Run = "held-class"
		res, err = src.Apply(ctx, b)
		require.NoError(t, err)
		require.EqualValues(t, 7, res.Counts.Held)

		// The brake: nothing of the batch is done.
		b = batch(free, 2, keys(20, 30)...)
		b.Budget = 49
		_, err = src.Apply(ctx, b)
		require.ErrorIs(t, err, retention.ErrBrake)
		require.Equal(t, 10, h.Int(t, "SELECT COUNT(*) FROM doc WHERE no BETWEEN 20 AND 29"))

		// A fence that was raised stops a batch that does not know the newest hold.
		require.NoError(t, src.Fence(ctx, 5))
		require.NoError(t, src.Fence(ctx, 3), "a fence never goes down")
		b.Budget = 1000
		b.Epoch = 4
		_, err = src.Apply(ctx, b)
		require.ErrorIs(t, err, retention.ErrStaleHolds)
		b.Epoch = 5
		res, err = src.Apply(ctx, b)
		require.NoError(t, err)
		require.EqualValues(t, 10, res.Counts.Deleted)

		done, err := src.Applied(ctx, "run-1")
		require.NoError(t, err)
		require.Len(t, done, 3)
		require.Equal(t, 1, h.Int(t, "SELECT COUNT(*) FROM doc WHERE region = 'young'"))
	})
}

func TestAnonymise(t *testing.T) {
	hosttest.Each(t, func(t *testing.T, h hosttest.Host) {
		ctx := context.Background()
		stamp := "DATETIME"
		if h.Postgres {
			stamp = "TIMESTAMP"
		}
		h.Exec(t, "CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(30) NOT NULL, email VARCHAR(80) NOT NULL UNIQUE, phone TEXT, vat TEXT, points INTEGER, born DATE, left_at "+stamp+", country TEXT)")
		for i := range 20 {
			h.Exec(t, fmt.Sprintf("INSERT INTO person VALUES (%d, 'Name %d', 'n%d@example.com', '0%d', 'VAT%d', %d, '1980-07-%02d', '2019-01-01 10:00:00', 'France')", i, i, i, i, i/2, i, i+1))
		}
		h.Exec(t, "INSERT INTO person VALUES (99, 'Ann', 'ann@example.com', NULL, NULL, 1, NULL, NULL, 'France')")
		m := sqlsource.Mapping{Name: "people", Class: "contact", Table: "person", Key: []string{"id"}, Start: sqlsource.Start{Column: "left_at", Format: sqlsource.Timestamp}, Country: sqlsource.Column{Column: "country"},
			Anonymise: []sqlsource.Mask{{Column: "name", Method: sqlsource.Constant, Value: "Former"}, {Column: "email", Method: sqlsource.Email}, {Column: "phone", Method: sqlsource.Null},
				{Column: "vat", Method: sqlsource.Hash}, {Column: "points", Method: sqlsource.Constant, Value: "0"}, {Column: "born", Method: sqlsource.Year}}}
		src, err := sqlsource.New(ctx, h.DB, m, nil)
		require.NoError(t, err)
		r := resolver(t, []retention.Policy{target("contact", "P2Y", retention.Anonymise)})
		count := func() (n int) {
			_, err := src.Plan(ctx, retention.Selection{AsOf: asOf, Soon: asOf, Resolver: r}, func(retention.Facts) error { n++; return nil })
			require.NoError(t, err)
			return n
		}
		require.Equal(t, 20, count())
		var ks []string
		for i := range 20 {
			ks = append(ks, strconv.Itoa(i))
		}
		b := batch(r, 0, ks...)
		b.Action = retention.Anonymise
		res, err := src.Apply(ctx, b)
		require.NoError(t, err)
		require.Equal(t, retention.Counts{Planned: 20, Anonymised: 20}, res.Counts)
		require.Equal(t, 0, count(), "an anonymised row is never due again")
		require.Equal(t, 20, h.Int(t, "SELECT COUNT(DISTINCT email) FROM person WHERE email LIKE '%@anonymised.invalid'"))
		require.Equal(t, 10, h.Int(t, "SELECT COUNT(DISTINCT vat) FROM person WHERE vat NOT LIKE 'VAT%'"), "equal values stay equal within a run")
		require.Equal(t, 20, h.Int(t, "SELECT COUNT(*) FROM person WHERE phone IS NULL AND points = 0 AND name = 'Former' AND CAST(born AS TEXT) = '1980-01-01'"))
		require.Equal(t, 1, h.Int(t, "SELECT COUNT(*) FROM person WHERE name = 'Ann'"))
		b.Run = "again"
		res, err = src.Apply(ctx, b)
		require.NoError(t, err)
		require.EqualValues(t, 20, res.Counts.Changed)
	})
}

func TestNewRefuses(t *testing.T) {
	hosttest.Each(t, func(t *testing.T, h hosttest.Host) {
		ctx := context.Background()
		makeDocuments(t, h, 1)
		h.Exec(t, "CREATE TABLE loose (id INTEGER, at DATE)", "CREATE TABLE extra (id INTEGER PRIMARY KEY, page_id INTEGER REFERENCES page (id) ON DELETE CASCADE)",
			"CREATE TABLE solo (id INTEGER PRIMARY KEY, at DATE, note TEXT NOT NULL)")
		good := sqlsource.Mapping{Name: "solo", Class: "invoice", Table: "solo", Key: []string{"id"}, Start: sqlsource.Start{Column: "at", Format: sqlsource.Date}, Country: sqlsource.Column{Constant: "DE"}, Delete: true}
		_, err := sqlsource.New(ctx, h.DB, good, nil)
		require.NoError(t, err)
		for name, change := range map[string]func(m *sqlsource.Mapping){
			"no table":              func(m *sqlsource.Mapping) { m.Table = "nope" },
			"injected table":        func(m *sqlsource.Mapping) { m.Table = `solo"; DROP TABLE solo; --` },
			"no column":             func(m *sqlsource.Mapping) { m.Start.Column = "then" },
			"injected column":       func(m *sqlsource.Mapping) { m.Key = []string{`id" OR "1"="1`} },
			"no key":                func(m *sqlsource.Mapping) { m.Key = nil },
			"key without index":     func(m *sqlsource.Mapping) { m.Table = "loose" },
			"nothing to do":         func(m *sqlsource.Mapping) { m.Delete = false },
			"no country":            func(m *sqlsource.Mapping) { m.Country = sqlsource.Column{} },
			"two countries":         func(m *sqlsource.Mapping) { m.Country.Column = "note" },
			"unknown format":        func(m *sqlsource.Mapping) { m.Start.Format = "stardate" },
			"unknown zone":          func(m *sqlsource.Mapping) { m.Start.Zone = "Mars/Base" },
			"null into not null":    func(m *sqlsource.Mapping) { m.Anonymise = []sqlsource.Mask{{Column: "note", Method: sqlsource.Null}} },
			"no mark":               func(m *sqlsource.Mapping) { m.Anonymise = []sqlsource.Mask{{Column: "note", Method: sqlsource.Hash}} },
			"masks the key":         func(m *sqlsource.Mapping) { m.Anonymise = []sqlsource.Mask{{Column: "id", Method: sqlsource.Null}} },
			"parent is not there":   func(m *sqlsource.Mapping) { m.Start.Parent = true },
			"cascade is not mapped": func(m *sqlsource.Mapping) { d := documents(); d.Name = m.Name; *m = d },
		} {
			m := good
			change(&m)
			_, err := sqlsource.New(ctx, h.DB, m, nil)
			var invalid *governance.InvalidError
			require.ErrorAs(t, err, &invalid, name)
		}
		require.Equal(t, 0, h.Int(t, "SELECT COUNT(*) FROM solo"))
	})
}

func TestLoad(t *testing.T) {
	_, err := sqlsource.Load([]byte("sources:\n  - {name: a, class: b, table: c, key: [id], colour: red}"))
	require.ErrorContains(t, err, "colour")
	_, err = sqlsource.Load([]byte("sources:\n  - {name: a, class: b, table: c, key: [id]}"))
	require.ErrorContains(t, err, "sources[0].start")
	_, err = sqlsource.Load([]byte("{"))
	require.Error(t, err)
	_, err = sqlsource.Load(nil)
	require.Error(t, err)
}

func TestConformance(t *testing.T) {
	hosttest.Each(t, func(t *testing.T, h hosttest.Host) {
		makeDocuments(t, h, 60)
		sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
			src, err := sqlsource.New(context.Background(), h.DB, documents(), nil)
			require.NoError(t, err)
			return sourcetest.Fixture{Source: src, AsOf: asOf, Resolver: func(holds ...retention.Hold) *retention.Resolver {
				return resolver(t, []retention.Policy{target("invoice", "P2Y", retention.Delete)}, holds...)
			}}
		})
	})
}

func TestFidesMapping(t *testing.T) {
	h := hosttest.Postgres(t)
	h.Fides(t)
	ctx := context.Background()
	// Keys of text, of two integers, and of text with a timestamp; money and dates beside.
	ms, err := sqlsource.Load([]byte(`
sources:
  - name: customers
    class: contact
    table: customer
    key: [id]
    parent: {table: address, columns: [address_id], key: [id]}
    start: {column: created, format: timestamp}
    country: {constant: US}
    subject: {column: email}
    anonymise:
      - {column: email, method: email}
      - {column: name, method: constant, value: Former}
  - name: orders
    class: invoice
    table: orders
    key: [id]
    parent: {table: customer, columns: [customer_id], key: [id]}
    start: {column: created, format: timestamp, parent: true}
    country: {constant: US}
    subject: {column: email, parent: true}
    delete: true
    children:
      - {table: order_item, columns: [order_id], key: [order_id, item_no]}
  - name: visits
    class: support
    table: visit
    key: [email, last_visit]
    start: {column: last_visit, format: timestamp}
    country: {constant: US}
    subject: {column: email}
    delete: true
  - name: requests
    class: support
    table: service_request
    key: [id]
    start: {column: opened, format: date}
    country: {constant: US}
    subject: {column: email}
    delete: true
  - name: pairs
    class: invoice
    table: composite_pk_test
    key: [id_a, id_b]
    parent: {table: customer, columns: [customer_id], key: [id]}
    start: {column: created, format: timestamp, parent: true}
    country: {constant: US}
    delete: true
`))
	require.NoError(t, err)
	r := resolver(t, []retention.Policy{target("contact", "P2Y", retention.Anonymise), target("invoice", "P2Y", retention.Delete), target("support", "P2Y", retention.Delete)},
		hold(retention.Selector{Subject: "customer-1@example.com"}))
	late := time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, m := range ms {
		src, err := sqlsource.New(ctx, h.DB, m, nil)
		require.NoError(t, err, m.Name)
		var due, held []string
		_, err = src.Plan(ctx, retention.Selection{AsOf: late, Soon: late, Resolver: r}, func(f retention.Facts) error {
			switch state, _ := r.Decide(f, late); state {
			case retention.Due:
				due = append(due, f.Key)
			case retention.Held:
				held = append(held, f.Key)
			}
			return nil
		})
		require.NoError(t, err, m.Name)
		require.NotEmpty(t, due, m.Name)
		b := batch(r, 0, slices.Concat(due, held)...)
		b.Run, b.AsOf = "fides", late
		if m.Name == "customers" {
			b.Action = retention.Anonymise
		}
		// One table for every source: sequence numbers must not meet.
		b.Run += m.Name
		res, err := src.Apply(ctx, b)
		require.NoError(t, err, m.Name)
		require.EqualValues(t, len(held), res.Counts.Held, m.Name)
		require.EqualValues(t, len(due), res.Counts.Deleted+res.Counts.Anonymised, m.Name)
	}
	require.Equal(t, 1, h.Int(t, "SELECT COUNT(*) FROM customer WHERE email = 'customer-1@example.com'"))
	require.Equal(t, 2, h.Int(t, "SELECT COUNT(*) FROM customer WHERE name = 'Former'"))
	require.Equal(t, 1, h.Int(t, "SELECT COUNT(*) FROM visit"), "the held visit")
}
