package analytics

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

// ImportTelco reads a table of telephone subscriptions with the columns churn,
// tenure, contract and monthly_charges as facts of the source "telco".
//
// Each row is one tenant with one subscription, numbered by its row. The table says
// how long a subscription ran, not when; all are taken to be seen on the day seen,
// which should be the first of a month: the subscription begins tenure months
// before with the monthly charge as its MRR, and one that churned is cancelled on
// that day. A subscription of no months begins on it. A watermark says that the
// source is complete.
func ImportTelco(r io.Reader, seen Day, currency string) ([]Fact, error) {
	c := csv.NewReader(r)
	header, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("telco: %w", csvSyntax(err))
	}
	column := map[string]int{}
	for _, name := range []string{"churn", "tenure", "contract", "monthly_charges"} {
		i := slices.Index(header, name)
		if i < 0 {
			return nil, governance.Invalid(csvPlace(1, name), "is required")
		}
		column[name] = i
	}
	at := seen.Start(time.UTC)
	var out []Fact
	for n := 1; ; n++ {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("telco: %w", csvSyntax(err))
		}
		tenure, err := strconv.Atoi(row[column["tenure"]])
		if err != nil || tenure < 0 || tenure > 1200 {
			return nil, governance.Invalid(csvPlace(n+1, "tenure"), "is not a number of months")
		}
		charge, err := governance.ParseMoney(row[column["monthly_charges"]], currency)
		if err != nil {
			return nil, governance.Invalid(csvPlace(n+1, "monthly_charges"), "is not an amount")
		}
		name := fmt.Sprintf("telco-%05d", n)
		f := Fact{Source: "telco", Key: name + ":begin", Kind: KindSubscription, Tenant: governance.TenantID(name), Subscription: name, Plan: row[column["contract"]],
			Quantity: 1, Amount: charge.Minor, Currency: currency, At: anniversary(seen, -tenure).Start(time.UTC)}
		out = append(out, f)
		switch churn := row[column["churn"]]; churn {
		case "No":
		case "Yes":
			out = append(out, Fact{Source: "telco", Key: name + ":end", Kind: KindSubscription, Tenant: f.Tenant, Subscription: name, Plan: f.Plan, Cancelled: true,
				Currency: currency, At: at, Sequence: 1})
		default:
			return nil, governance.Invalid(csvPlace(n+1, "churn"), "is neither Yes nor No")
		}
	}
	return append(out, Fact{Source: "telco", Key: "through", Kind: KindWatermark, At: at}), nil
}

// ImportCDNow reads a log of purchases in four columns separated by blanks
// (customer, date as YYYYMMDD, units, dollars) as facts of the source "cdnow". A
// customer may buy several times on a day: the key of a fact is its line. A
// watermark says that the source is complete up to the last day in it.
func ImportCDNow(r io.Reader) ([]Fact, error) {
	var out []Fact
	var last time.Time
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] == "customer_id" {
			continue
		}
		if len(fields) != 4 {
			return nil, governance.Invalid(fmt.Sprintf("row %d", n), "has %d columns, want 4", len(fields))
		}
		at, err := time.Parse("20060102", fields[1])
		if err != nil {
			return nil, governance.Invalid(csvPlace(n, "date"), "is not a date such as 19970131")
		}
		units, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, governance.Invalid(csvPlace(n, "number_of_cds"), "is not a whole number")
		}
		money, err := governance.ParseMoney(fields[3], "USD")
		if err != nil {
			return nil, governance.Invalid(csvPlace(n, "dollar_value"), "is not an amount")
		}
		if at.After(last) {
			last = at
		}
		out = append(out, Fact{Source: "cdnow", Key: fmt.Sprintf("line-%06d", n), Kind: KindPurchase, Tenant: governance.TenantID("cdnow-" + fields[0]), Quantity: units,
			Amount: money.Minor, Currency: "USD", At: at})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cdnow: %w", err)
	}
	return append(out, Fact{Source: "cdnow", Key: "through", Kind: KindWatermark, At: last}), nil
}
