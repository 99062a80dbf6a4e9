package analytics

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
)

// MaxCSV is the most bytes of a CSV file.
const MaxCSV = 8 << 20

var csvColumns = []string{"source", "key", "kind", "tenant", "subscription", "plan", "quantity", "amount", "currency", "at", "due", "metric", "ref", "rate",
	"cancelled", "void", "version", "sequence"}

// CSVColumns are the columns that a file may have, in any order. source, key, kind
// and at are required; the others as the kind of fact needs them. amount is a
// decimal such as 12.50; at a date or an RFC 3339 instant.
func CSVColumns() []string { return slices.Clone(csvColumns) }

// csvErrors collects what is wrong, each with its line and column.
type csvErrors struct{ errs []error }

func (e *csvErrors) add(line int, column, format string, args ...any) bool {
	if len(e.errs) == maxErrors {
		e.errs = append(e.errs, governance.Invalid("file", "more is wrong; the first %d errors are listed", maxErrors))
	}
	if len(e.errs) < maxErrors {
		e.errs = append(e.errs, governance.Invalid(csvPlace(line, column), format, args...))
	}
	return false
}

func csvPlace(line int, column string) string { return fmt.Sprintf("row %d, column %s", line, column) }

// IngestCSV takes a CSV file of facts with a header line, all of it or nothing.
// Errors name the line, counted from 1 for the header, and the column. A leading
// byte order mark is accepted.
func (s *Service) IngestCSV(ctx context.Context, id governance.Identity, r io.Reader) (Ingested, error) {
	if err := s.k.Authorize(ctx, id, PermissionIngest, governance.Target{}); err != nil {
		return Ingested{}, err // before the file is read
	}
	facts, lines, err := s.parseCSV(r)
	if err != nil {
		return Ingested{}, err
	}
	return s.Ingest(ctx, id, facts, &IngestOptions{Format: "csv", Place: func(i int, field string) string { return csvPlace(lines[i], field) }})
}

func (s *Service) parseCSV(r io.Reader) (facts []Fact, lines []int, err error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxCSV+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read CSV: %w", err)
	}
	if len(b) > MaxCSV {
		return nil, nil, governance.Invalid("file", "is larger than %d bytes; send it in parts", MaxCSV)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		return nil, nil, governance.Invalid("file", "is not UTF-8")
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return nil, nil, governance.Invalid(fmt.Sprintf("row %d", 1+bytes.Count(b[:i], []byte("\n"))), "contains U+0000")
	}
	c := csv.NewReader(bytes.NewReader(b))
	c.ReuseRecord = true
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, governance.Invalid("file", "is empty")
	}
	if err != nil {
		return nil, nil, csvSyntax(err)
	}
	columns := slices.Clone(header)
	var bad csvErrors
	for i, name := range columns {
		columns[i] = strings.TrimSpace(name)
		if !slices.Contains(csvColumns, columns[i]) {
			bad.add(1, strconv.Quote(columns[i]), "is not a column; there are %s", strings.Join(csvColumns, ", "))
		}
		if slices.Index(columns, columns[i]) < i {
			bad.add(1, columns[i], "is there twice")
		}
	}
	for _, name := range []string{"source", "key", "kind", "at"} {
		if !slices.Contains(columns, name) {
			bad.add(1, name, "is required")
		}
	}
	if len(bad.errs) > 0 {
		return nil, nil, errors.Join(bad.errs...)
	}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			bad.errs = append(bad.errs, csvSyntax(err))
			break
		}
		line, _ := c.FieldPos(0)
		if len(facts) == MaxBatch {
			return nil, nil, governance.Invalid(fmt.Sprintf("row %d", line), "more than %d rows; send the file in parts", MaxBatch)
		}
		facts = append(facts, s.csvFact(&bad, line, columns, record))
		lines = append(lines, line)
		if len(bad.errs) > maxErrors {
			break
		}
	}
	if len(bad.errs) == 0 && len(facts) == 0 {
		return nil, nil, governance.Invalid("file", "has a header and no rows")
	}
	return facts, lines, errors.Join(bad.errs...)
}

func csvSyntax(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return governance.Invalid(fmt.Sprintf("row %d, character %d", p.Line, p.Column), "%v", p.Err)
	}
	return governance.Invalid("file", "cannot be read as CSV")
}

func (s *Service) csvFact(bad *csvErrors, line int, columns, record []string) Fact {
	v := func(name string) string {
		if i := slices.Index(columns, name); i >= 0 {
			return strings.Clone(record[i])
		}
		return ""
	}
	number := func(name string) int64 {
		t := v(name)
		if t == "" {
			return 0
		}
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			bad.add(line, name, "%q is not a whole number", short(t))
		}
		return n
	}
	truth := func(name string) bool {
		switch t := v(name); t {
		case "", "false":
			return false
		case "true":
			return true
		default:
			return bad.add(line, name, "%q is neither true nor false", short(t))
		}
	}
	f := Fact{Source: v("source"), Key: v("key"), Kind: Kind(v("kind")), Tenant: governance.TenantID(v("tenant")), Subscription: v("subscription"), Plan: v("plan"),
		Metric: v("metric"), Ref: v("ref"), Currency: v("currency"), Quantity: number("quantity"), Version: number("version"), Sequence: number("sequence"),
		Cancelled: truth("cancelled"), Void: truth("void")}
	if t := v("amount"); t != "" {
		m, err := governance.ParseMoney(t, f.Currency)
		var invalid *governance.InvalidError
		if errors.As(err, &invalid) {
			bad.add(line, invalid.Field, "%s", invalid.Reason)
		}
		f.Amount = m.Minor
	}
	var err error
	if t := v("rate"); t != "" {
		if f.Rate, err = ParseRate(t); err != nil {
			bad.add(line, "rate", "%q is not a decimal rate with at most six decimals", short(t))
		}
	}
	if t := v("due"); t != "" {
		if f.Due, err = ParseDay(t); err != nil {
			bad.add(line, "due", "%q is not a date such as 2026-01-31", short(t))
		}
	}
	if t := v("at"); t != "" {
		if f.At, err = ParseAt(t, s.opts.Zone); err != nil {
			bad.add(line, "at", "%q is neither a date such as 2026-01-31 nor an instant such as 2026-01-31T09:30:00Z", short(t))
		}
	} else {
		bad.add(line, "at", "is required")
	}
	return f
}

// short keeps a wrong value from filling the answer.
func short(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}
