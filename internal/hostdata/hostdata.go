// Package hostdata makes the database of an imaginary host: a CRM with customers in
// three countries, their documents with pages, their tickets with messages, and
// disputes that refer to documents. It belongs to nobody's library: the demo server
// and the crash tests run retention on it as on any foreign database.
//
// Start with [Generate]; [Mapping] and [Policies] go with it.
package hostdata

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/sqlsource"
)

//go:embed mapping.yaml
var mapping []byte

// Mapping is how retention sees the host's tables.
func Mapping() ([]sqlsource.Mapping, error) { return sqlsource.Load(mapping) }

// Policies are the host's targets for its classes of data.
func Policies() []retention.Policy {
	return []retention.Policy{
		{ID: "contact", Title: "Former customers are forgotten two years after they left", Class: "contact", Period: retention.Period{Years: 2},
			Clock: retention.Clock{From: "end of the contract"}, Action: retention.Anonymise},
		{ID: "contact-us", Title: "In the United States after three years", Class: "contact", Country: "US", Period: retention.Period{Years: 3},
			Clock: retention.Clock{From: "end of the contract"}, Action: retention.Anonymise},
		{ID: "invoice", Title: "Invoices go when the law lets them", Class: "invoice", Period: retention.Period{Years: 5},
			Clock: retention.Clock{From: "date of the invoice"}, Action: retention.Delete},
		{ID: "support", Title: "Tickets go two years after they were closed", Class: "support", Period: retention.Period{Years: 2},
			Clock: retention.Clock{From: "ticket closed"}, Action: retention.Delete},
	}
}

func schema(postgres bool) []string {
	stamp := "DATETIME"
	if postgres {
		stamp = "TIMESTAMP"
	}
	return []string{
		"CREATE TABLE crm_customer (id BIGINT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, phone TEXT, street TEXT, city TEXT, country TEXT, created_at " + stamp + " NOT NULL, closed_at " + stamp + ")",
		"CREATE TABLE crm_document (id TEXT PRIMARY KEY, customer_id BIGINT NOT NULL REFERENCES crm_customer (id), kind TEXT NOT NULL, issued_on DATE NOT NULL, cents BIGINT NOT NULL)",
		"CREATE TABLE crm_document_page (document_id TEXT NOT NULL REFERENCES crm_document (id), page INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (document_id, page))",
		"CREATE TABLE crm_ticket (customer_id BIGINT NOT NULL REFERENCES crm_customer (id), no INTEGER NOT NULL, subject TEXT NOT NULL, closed_unix BIGINT, PRIMARY KEY (customer_id, no))",
		"CREATE TABLE crm_ticket_message (customer_id BIGINT NOT NULL, no INTEGER NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (customer_id, no, seq), FOREIGN KEY (customer_id, no) REFERENCES crm_ticket (customer_id, no))",
		"CREATE TABLE crm_dispute (id BIGINT PRIMARY KEY, document_id TEXT NOT NULL REFERENCES crm_document (id), opened_on DATE NOT NULL)",
	}
}

// Tables lists the host's tables.
func Tables() []string {
	return []string{"crm_customer", "crm_document", "crm_document_page", "crm_ticket", "crm_ticket_message", "crm_dispute"}
}

// inserter gathers rows into statements of many.
type inserter struct {
	tx    *sql.Tx
	table string
	b     strings.Builder
	n     int
}

const perFlush = 300 // customers

func (i *inserter) row(values ...any) error {
	if i.n == 0 {
		i.b.WriteString("INSERT INTO " + i.table + " VALUES ")
	} else {
		i.b.WriteByte(',')
	}
	i.b.WriteByte('(')
	for k, v := range values {
		if k > 0 {
			i.b.WriteByte(',')
		}
		switch x := v.(type) {
		case nil:
			i.b.WriteString("NULL")
		case int:
			i.b.WriteString(strconv.Itoa(x))
		case int64:
			i.b.WriteString(strconv.FormatInt(x, 10))
		case string: // ours, without quotes
			i.b.WriteByte('\'')
			i.b.WriteString(x)
			i.b.WriteByte('\'')
		default:
			return fmt.Errorf("hostdata: %T", v)
		}
	}
	i.b.WriteByte(')')
	i.n++
	return nil
}

func (i *inserter) flush(ctx context.Context) error {
	if i.n == 0 {
		return nil
	}
	_, err := i.tx.ExecContext(ctx, i.b.String())
	i.b.Reset()
	i.n = 0
	if err != nil {
		return fmt.Errorf("hostdata: %s: %w", i.table, err)
	}
	return nil
}

var (
	first  = []string{"Ada", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karla", "Leo", "Mara", "Noah", "Olga", "Paul"}
	last   = []string{"Albers", "Bonnet", "Carter", "Dietz", "Evans", "Fontaine", "Graf", "Hughes", "Imbert", "Jansen", "Keller", "Laurent", "Meyer", "Norton", "Olsen", "Petit"}
	street = []string{"Hauptstr.", "Rue du Port", "Main St", "Lindenweg", "Avenue Foch", "Oak Ave"}
	cities = map[string][]string{"DE": {"Berlin", "Hamburg", "Leipzig"}, "FR": {"Lyon", "Nantes", "Lille"}, "US": {"Boston", "Austin", "Denver"}}
)

const (
	stampForm = "2006-01-02 15:04:05"
	years     = 16
)

// Present tells whether the tables are there; Generate makes them whole or not at all.
func Present(ctx context.Context, db *sql.DB) bool {
	var n int
	return db.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM crm_customer LIMIT 1) AS c").Scan(&n) == nil
}

// Generate makes the tables in db and fills them. The same seed and day give the
// same rows. Roughly one customer in four has left; in a hundred one has no known
// country, and in two hundred documents one is disputed.
func Generate(ctx context.Context, db *sql.DB, postgres bool, seed uint64, customers int, today time.Time) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("hostdata: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, q := range schema(postgres) {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("hostdata: %w", err)
		}
	}
	if err := fill(ctx, tx, rand.New(rand.NewPCG(seed, 7)), customers, today.UTC().Truncate(24*time.Hour)); err != nil {
		return err
	}
	for _, q := range []string{
		"CREATE INDEX crm_document_customer ON crm_document (customer_id)",
		"CREATE INDEX crm_dispute_document ON crm_dispute (document_id)",
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("hostdata: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("hostdata: %w", err)
	}
	return nil
}

func fill(ctx context.Context, tx *sql.Tx, r *rand.Rand, customers int, today time.Time) error {
	into := map[string]*inserter{}
	for _, t := range Tables() {
		into[t] = &inserter{tx: tx, table: t}
	}
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	disputes := 0
	for id := 1; id <= customers; id++ {
		country := "DE"
		switch n := r.IntN(100); {
		case n >= 75:
			country = "US"
		case n >= 45:
			country = "FR"
		}
		name := pick(first) + " " + pick(last)
		created := today.Add(-time.Duration(r.IntN(years*365*24)) * time.Hour)
		var closed, written any
		if r.IntN(4) == 0 {
			closed = created.Add(time.Duration(r.Int64N(int64(today.Sub(created))+1)) / time.Second * time.Second).Format(stampForm)
		}
		if written = country; r.IntN(100) == 0 {
			written = nil
		}
		err := into["crm_customer"].row(id, "t-"+strconv.Itoa(1+id%180), name, strings.ToLower(strings.ReplaceAll(name, " ", "."))+strconv.Itoa(id)+"@example.com",
			"+49 "+strconv.Itoa(100000+r.IntN(900000)), pick(street)+" "+strconv.Itoa(1+r.IntN(99)), pick(cities[country]), written, created.Format(stampForm), closed)
		if err != nil {
			return err
		}
		for d := range r.IntN(4) {
			doc := fmt.Sprintf("%s-%07d-%d", country, id, d)
			issued := created.Add(time.Duration(r.Int64N(int64(today.Sub(created)) + 1)))
			if err := into["crm_document"].row(doc, id, pick([]string{"invoice", "credit_note"}), issued.Format(time.DateOnly), 100+r.IntN(900000)); err != nil {
				return err
			}
			for page := range 1 + r.IntN(2) {
				if err := into["crm_document_page"].row(doc, page+1, "page of "+doc); err != nil {
					return err
				}
			}
			if r.IntN(200) == 0 {
				disputes++
				if err := into["crm_dispute"].row(disputes, doc, issued.AddDate(0, 1, 0).Format(time.DateOnly)); err != nil {
					return err
				}
			}
		}
		if r.IntN(2) == 0 {
			var end any
			if r.IntN(10) > 0 {
				end = created.Add(time.Duration(r.Int64N(int64(today.Sub(created)) + 1))).Unix()
			}
			if err := into["crm_ticket"].row(id, 1, pick([]string{"Password", "Invoice", "Outage"}), end); err != nil {
				return err
			}
			for seq := range 1 + r.IntN(2) {
				if err := into["crm_ticket_message"].row(id, 1, seq+1, "message "+strconv.Itoa(seq+1)); err != nil {
					return err
				}
			}
		}
		if id%perFlush == 0 { // parents before the rows that refer to them
			for _, t := range Tables() {
				if err := into[t].flush(ctx); err != nil {
					return err
				}
			}
		}
	}
	for _, t := range Tables() {
		if err := into[t].flush(ctx); err != nil {
			return err
		}
	}
	return nil
}
