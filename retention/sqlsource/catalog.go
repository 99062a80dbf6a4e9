package sqlsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/reevehq/reeve/governance"
)

// table is what the host's catalogue says of a table.
type table struct {
	name    string
	columns map[string]column
	unique  [][]string // columns of each unique index, the primary key among them
	leading [][]string // columns of each index in order
}

type column struct {
	Type    string
	NotNull bool
}

func quote(ident string) string { return `"` + strings.ReplaceAll(ident, `"`, `""`) + `"` }

// in names a table for a statement.
func (s *Source) in(name string) string {
	if s.m.Schema != "" {
		return quote(s.m.Schema) + "." + quote(name)
	}
	return quote(name)
}

// strings runs a query of text columns.
func (s *Source) strings(ctx context.Context, query string, args ...any) ([][]string, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	cols, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out [][]string
	for rows.Next() {
		row := make([]string, len(cols))
		to := make([]any, len(cols))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// readTable reads the catalogue; a table that is not there is an InvalidError.
func (s *Source) readTable(ctx context.Context, at, name string) (table, error) {
	t := table{name: name, columns: map[string]column{}}
	columns := `SELECT name, type, CAST("notnull" AS TEXT) FROM pragma_table_info(?)`
	indexes := `SELECT l.name, CAST(l."unique" AS TEXT), COALESCE(i.name, '') FROM pragma_index_list(?) l, pragma_index_info(l.name) i WHERE l.partial = 0 ORDER BY l.name, i.seqno`
	arg := name
	if s.postgres {
		columns = `SELECT a.attname, format_type(a.atttypid, NULL), CASE WHEN a.attnotnull THEN '1' ELSE '0' END FROM pg_attribute a
			WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`
		indexes = `SELECT x.indexrelid::text, CASE WHEN x.indisunique THEN '1' ELSE '0' END, COALESCE(a.attname, '')
			FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k(attnum, place)
			LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
			WHERE x.indrelid = to_regclass($1) AND x.indpred IS NULL AND x.indisvalid AND k.place <= x.indnkeyatts ORDER BY x.indexrelid, k.place`
		arg = s.in(name)
	}
	rows, err := s.strings(ctx, columns, arg)
	if err != nil {
		return t, fmt.Errorf("catalogue of %s: %w", name, err)
	}
	if len(rows) == 0 {
		return t, governance.Invalid(at, "there is no table %q in the host database", name)
	}
	for _, r := range rows {
		t.columns[r[0]] = column{strings.ToLower(r[1]), r[2] == "1"}
	}
	if rows, err = s.strings(ctx, indexes, arg); err != nil {
		return t, fmt.Errorf("indexes of %s: %w", name, err)
	}
	for i := 0; i < len(rows); {
		var cols []string
		j := i
		for ; j < len(rows) && rows[j][0] == rows[i][0]; j++ {
			cols = append(cols, rows[j][2])
		}
		t.leading = append(t.leading, cols)
		if rows[i][1] == "1" && !slices.Contains(cols, "") {
			t.unique = append(t.unique, cols)
		}
		i = j
	}
	if !s.postgres { // the primary key of a rowid table has no index
		pk, err := s.strings(ctx, "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", name)
		if err != nil {
			return t, fmt.Errorf("key of %s: %w", name, err)
		}
		if cols := flatten(pk); len(cols) > 0 {
			t.unique, t.leading = append(t.unique, cols), append(t.leading, cols)
		}
	}
	return t, nil
}

func flatten(rows [][]string) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r...)
	}
	return out
}

func (t table) need(at string, cols ...string) error {
	for _, c := range cols {
		if _, ok := t.columns[c]; !ok {
			return governance.Invalid(at, "table %q has no column %q", t.name, c)
		}
	}
	return nil
}

// identifies tells whether the columns contain those of a unique index.
func (t table) identifies(cols []string) bool {
	for _, u := range t.unique {
		all := true
		for _, c := range u {
			all = all && slices.Contains(cols, c)
		}
		if all {
			return true
		}
	}
	return false
}

// indexed tells whether an index begins with the columns, in any order.
func (t table) indexed(cols []string) bool {
	for _, l := range t.leading {
		if len(l) < len(cols) {
			continue
		}
		all := true
		for _, c := range cols {
			all = all && slices.Contains(l[:len(cols)], c)
		}
		if all {
			return true
		}
	}
	return false
}

// referrers are the foreign keys that point at a table, with what happens on delete.
func (s *Source) referrers(ctx context.Context, name string) ([][]string, error) {
	if s.postgres {
		return s.strings(ctx, `SELECT r.relname, CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' ELSE 'NO ACTION' END
			FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid WHERE c.contype = 'f' AND c.confrelid = to_regclass($1)`, s.in(name))
	}
	return s.strings(ctx, `SELECT m.name, f.on_delete FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND lower(f."table") = lower(?)`, name)
}

// inspect checks the mapping against the catalogue.
func (s *Source) inspect(ctx context.Context) (inspected, error) {
	in := inspected{tables: map[string]table{}, warnings: []string{}}
	t, err := s.readTable(ctx, "table", s.m.Table)
	if err != nil {
		return in, err
	}
	in.tables[s.m.Table] = t
	if err := t.need("key", s.m.Key...); err != nil {
		return in, err
	}
	if !t.identifies(s.m.Key) {
		return in, governance.Invalid("key", "no unique index of %q covers it: a key must name one row", s.m.Table)
	}
	p := t
	if s.m.Parent != nil {
		if err := t.need("parent.columns", s.m.Parent.Columns...); err != nil {
			return in, err
		}
		if p, err = s.readTable(ctx, "parent.table", s.m.Parent.Table); err != nil {
			return in, err
		}
		in.tables[s.m.Parent.Table] = p
		if err := p.need("parent.key", s.m.Parent.Key...); err != nil {
			return in, err
		}
		if !p.identifies(s.m.Parent.Key) {
			return in, governance.Invalid("parent.key", "no unique index of %q covers it", s.m.Parent.Table)
		}
	}
	of := func(parent bool) table {
		if parent {
			return p
		}
		return t
	}
	clock := of(s.m.Start.Parent)
	if l := s.m.Start.Last; l != nil {
		if clock, err = s.readTable(ctx, "start.last.table", l.Table); err != nil {
			return in, err
		}
		in.tables[l.Table] = clock
		if err := clock.need("start.last.columns", l.Columns...); err != nil {
			return in, err
		}
		if !clock.indexed(l.Columns) {
			in.warnings = append(in.warnings, fmt.Sprintf("%s(%s) has no index: the clock of each row reads the whole table", l.Table, strings.Join(l.Columns, ", ")))
		}
	}
	if err := clock.need("start.column", s.m.Start.Column); err != nil {
		return in, err
	}
	in.startType = clock.columns[s.m.Start.Column].Type
	if s.postgres {
		if err := s.startFits(in.startType); err != nil {
			return in, err
		}
	}
	for field, c := range map[string]Column{"country": s.m.Country, "subject": s.m.Subject, "tenant": s.m.Tenant} {
		if c.Column == "" {
			continue
		}
		if err := of(c.Parent).need(field+".column", c.Column); err != nil {
			return in, err
		}
	}
	for i, a := range s.m.Anonymise {
		at := fmt.Sprintf("anonymise[%d].column", i)
		if err := t.need(at, a.Column); err != nil {
			return in, err
		}
		if a.Method == Null && t.columns[a.Column].NotNull {
			return in, governance.Invalid(at, "%q may not be null", a.Column)
		}
	}
	if s.m.Delete {
		if err := s.inspectChildren(ctx, &in, "", t, s.m.Key, s.m.Children); err != nil {
			return in, err
		}
	}
	return in, s.print(&in)
}

type inspected struct {
	tables    map[string]table
	startType string
	related   []string
	warnings  []string
	print     string
}

func (s *Source) startFits(typ string) error {
	text := strings.HasPrefix(typ, "text") || strings.HasPrefix(typ, "character")
	number := slices.Contains([]string{"smallint", "integer", "bigint", "numeric"}, typ)
	stamp := strings.HasPrefix(typ, "timestamp") || typ == "date"
	switch s.m.Start.Format {
	case Timestamp:
		if !stamp {
			return governance.Invalid("start.format", "timestamp needs a timestamp column, %q is %s", s.m.Start.Column, typ)
		}
	case Date:
		if !stamp && !text {
			return governance.Invalid("start.format", "date needs a date or text column, %q is %s", s.m.Start.Column, typ)
		}
	case Unix, UnixMilli:
		if !number {
			return governance.Invalid("start.format", "%s needs an integer column, %q is %s", s.m.Start.Format, s.m.Start.Column, typ)
		}
	}
	return nil
}

func (s *Source) inspectChildren(ctx context.Context, in *inspected, at string, t table, key []string, cs []Child) error {
	mapped := map[string]bool{}
	for i, c := range cs {
		field := fmt.Sprintf("%schildren[%d].", at, i)
		mapped[strings.ToLower(c.Table)] = true
		ct, err := s.readTable(ctx, field+"table", c.Table)
		if err != nil {
			return err
		}
		in.tables[c.Table] = ct
		in.related = append(in.related, c.Table)
		if err := ct.need(field+"columns", append(append([]string{}, c.Columns...), c.Key...)...); err != nil {
			return err
		}
		refers := c.Refers
		if len(refers) == 0 {
			refers = key
		}
		if len(refers) != len(c.Columns) {
			return governance.Invalid(field+"columns", "has another length than what it refers to")
		}
		if err := t.need(field+"refers", refers...); err != nil {
			return err
		}
		for _, col := range c.Columns {
			if c.Detach && ct.columns[col].NotNull {
				return governance.Invalid(field+"detach", "%q may not be null", col)
			}
		}
		if !ct.indexed(c.Columns) {
			in.warnings = append(in.warnings, fmt.Sprintf("%s(%s) has no index: every batch reads the whole table", c.Table, strings.Join(c.Columns, ", ")))
		}
		if !c.Detach {
			if err := s.inspectChildren(ctx, in, field, ct, c.Key, c.Children); err != nil {
				return err
			}
		}
	}
	refs, err := s.referrers(ctx, t.name)
	if err != nil {
		return fmt.Errorf("foreign keys on %s: %w", t.name, err)
	}
	for _, r := range refs {
		if mapped[strings.ToLower(r[0])] || r[1] == "NO ACTION" || r[1] == "RESTRICT" {
			continue
		}
		if r[1] == "CASCADE" {
			return governance.Invalid(at+"children", "a delete in %q cascades to %q, which is not mapped: its rows would go uncounted", t.name, r[0])
		}
		in.warnings = append(in.warnings, fmt.Sprintf("a delete in %s changes rows of %s (%s), which are not counted", t.name, r[0], r[1]))
	}
	return nil
}

// print is the fingerprint of the mapping and of what it relies on.
func (s *Source) print(in *inspected) error {
	columns := map[string]map[string]column{}
	for name, t := range in.tables {
		columns[name] = t.columns
	}
	b, err := json.Marshal(map[string]any{"mapping": s.m, "tables": columns})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	in.print = "sha256:" + hex.EncodeToString(sum[:])
	return nil
}
