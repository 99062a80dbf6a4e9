package sqlsource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

// Options tunes a Source. The zero value is ready to use.
type Options struct {
	PageSize int              // rows read at a time; default 2000
	Now      func() time.Time // dates checkpoints; default time.Now
	// Step, when set, is called before each step of a batch, inside its transaction; an
	// error ends the batch there. It is for tests of crashes, and for hosts that want to
	// slow a run down.
	Step func(step string) error
}

// Source is a mapped table of a host. Use [New].
type Source struct {
	db       *sql.DB
	m        Mapping
	opts     Options
	postgres bool
	zone     *time.Location
}

var (
	_ retention.Source = (*Source)(nil)
	_ retention.Reader = (*Source)(nil)
)

// New makes a Source on the host's handle, checks the mapping against the host's
// catalogue and makes the checkpoint table if it is not there.
func New(ctx context.Context, db *sql.DB, m Mapping, opts *Options) (*Source, error) {
	if db == nil {
		return nil, errors.New("sqlsource: a handle is required")
	}
	s := &Source{db: db, m: m}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.PageSize == 0 {
		s.opts.PageSize = 2000
	}
	if s.opts.Now == nil {
		s.opts.Now = time.Now
	}
	if err := m.validate(""); err != nil {
		return nil, fmt.Errorf("source %s: %w", m.Name, err)
	}
	var err error
	if s.zone, err = time.LoadLocation(m.Start.Zone); err != nil {
		return nil, fmt.Errorf("source %s: %w", m.Name, err)
	}
	var version string
	if lite := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); lite != nil {
		if err := db.QueryRowContext(ctx, "SHOW server_version").Scan(&version); err != nil {
			return nil, fmt.Errorf("source %s: neither SQLite nor PostgreSQL: %w", m.Name, errors.Join(lite, err))
		}
		s.postgres = true
	}
	if m.Schema != "" && !s.postgres {
		return nil, governance.Invalid("schema", "is for PostgreSQL only")
	}
	if _, err := s.inspect(ctx); err != nil {
		return nil, fmt.Errorf("source %s: %w", m.Name, err)
	}
	if err := s.makeCheckpoint(ctx); err != nil {
		return nil, fmt.Errorf("source %s: checkpoint table: %w", m.Name, err)
	}
	return s, nil
}

// Describe implements retention.Source. It reads the catalogue anew, so that a
// host's changed schema stops a run.
func (s *Source) Describe(ctx context.Context) (retention.Descriptor, error) {
	in, err := s.inspect(ctx)
	if err != nil {
		return retention.Descriptor{}, err
	}
	engine := "SQLite"
	if s.postgres {
		engine = "PostgreSQL"
	}
	return retention.Descriptor{Name: s.m.Name, Class: s.m.Class, Place: engine + ", table " + s.m.Table, Key: s.m.Key, Actions: s.m.actions(),
		Related: append([]string{}, in.related...), Warnings: in.warnings, Fingerprint: in.print}, nil
}

// statement builds SQL with its arguments.
type statement struct {
	postgres bool
	b        strings.Builder
	args     []any
}

func (s *Source) statement() *statement { return &statement{postgres: s.postgres} }

func (q *statement) add(parts ...string) *statement {
	for _, p := range parts {
		q.b.WriteString(p)
	}
	return q
}

// arg adds an argument and gives its placeholder.
func (q *statement) arg(v any) string {
	q.args = append(q.args, v)
	if q.postgres {
		return fmt.Sprintf("$%d", len(q.args))
	}
	return "?"
}

// text is an argument that is text on both engines, whatever it stands beside.
func (q *statement) text(v string) string {
	if q.postgres {
		return "CAST(" + q.arg(v) + " AS text)"
	}
	return q.arg(v)
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func integer(typ string) bool {
	return typ == "smallint" || typ == "integer" || typ == "bigint"
}

func alias(parent bool) string {
	if parent {
		return "p"
	}
	return "t"
}

// keyColumn selects a key's column as an integer or text.
func (s *Source) keyColumn(from, name, typ string) string {
	c := from + "." + quote(name)
	switch {
	case !s.postgres:
		return "CASE typeof(" + c + ") WHEN 'integer' THEN " + c + " ELSE CAST(" + c + " AS TEXT) END"
	case integer(typ):
		return "CAST(" + c + " AS bigint)"
	}
	return "CAST(" + c + " AS text)"
}

// keyValue is a key's part as an argument of the column's own type, so that the
// host's index is used.
func (s *Source) keyValue(q *statement, v any, typ string) string {
	if !s.postgres {
		return q.arg(v)
	}
	if strings.HasPrefix(typ, "character") || typ == "text" {
		return q.text(fmt.Sprint(v))
	}
	return "CAST(" + q.text(fmt.Sprint(v)) + " AS " + typ + ")" // typ is the catalogue's own word
}

// keyIn is "the columns are one of these keys".
func (s *Source) keyIn(q *statement, from string, t table, cols []string, keys [][]any) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = quote(c)
		if from != "" {
			names[i] = from + "." + quote(c)
		}
	}
	list := make([]string, len(keys))
	for i, k := range keys {
		parts := make([]string, len(cols))
		for j, c := range cols {
			parts[j] = s.keyValue(q, k[j], t.columns[c].Type)
		}
		list[i] = strings.Join(parts, ", ")
	}
	if len(cols) == 1 {
		return names[0] + " IN (" + strings.Join(list, ", ") + ")"
	}
	return "(" + strings.Join(names, ", ") + ") IN (VALUES (" + strings.Join(list, "), (") + "))"
}

// from is the table with its parent.
func (s *Source) from() string {
	f := " FROM " + s.in(s.m.Table) + " t"
	if p := s.m.Parent; p != nil {
		on := make([]string, len(p.Key))
		for i := range p.Key {
			on[i] = "p." + quote(p.Key[i]) + " = t." + quote(p.Columns[i])
		}
		f += " LEFT JOIN " + s.in(p.Table) + " p ON " + strings.Join(on, " AND ")
	}
	return f
}

// value selects a column as text, NULL included.
func (s *Source) value(q *statement, c Column) string {
	switch {
	case c.Column != "":
		return "CAST(" + alias(c.Parent) + "." + quote(c.Column) + " AS TEXT)"
	case c.Constant != "":
		return q.text(c.Constant)
	}
	return "NULL"
}

// clock is the clock's column itself.
func (s *Source) clock() string {
	l := s.m.Start.Last
	if l == nil {
		return alias(s.m.Start.Parent) + "." + quote(s.m.Start.Column)
	}
	on := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		on[i] = "l." + quote(c) + " = t." + quote(s.m.Key[i])
	}
	return "(SELECT MAX(l." + quote(s.m.Start.Column) + ") FROM " + s.in(l.Table) + " l WHERE " + strings.Join(on, " AND ") + ")"
}

// startColumn is the clock's column as it is compared: unix seconds on SQLite, the
// column itself on PostgreSQL.
func (s *Source) startColumn(typ string) string {
	c := s.clock()
	switch s.m.Start.Format {
	case Timestamp:
		if !s.postgres {
			return "unixepoch(" + c + ")"
		}
		return "CASE WHEN isfinite(" + c + ") THEN " + c + " END"
	case Date:
		if !s.postgres {
			return "date(substr(" + c + ", 1, 10))"
		}
		if typ == "date" || strings.HasPrefix(typ, "timestamp") {
			return "CASE WHEN isfinite(" + c + ") THEN CAST(" + c + " AS date) END"
		}
		return "CASE WHEN " + c + ` ~ '^\d{4}-\d{2}-\d{2}' THEN substr(` + c + ", 1, 10) END"
	}
	if !s.postgres {
		return "CASE WHEN typeof(" + c + ") = 'integer' THEN " + c + " END"
	}
	return c
}

// noStart is the condition on rows whose clock cannot be read.
func (s *Source) noStart(typ string) string {
	cond := s.startColumn(typ) + " IS NULL"
	if s.m.Start.Open {
		cond += " AND " + s.clock() + " IS NOT NULL"
	}
	return cond
}

// startRaw selects the clock's column so that [Source.start] can read it.
func (s *Source) startRaw(typ string) string {
	c := s.startColumn(typ)
	if s.m.Start.Format == Timestamp {
		if s.postgres {
			return "CAST(CAST(EXTRACT(EPOCH FROM " + c + ") * 1000000 AS bigint) AS text)"
		}
		return "CAST(" + s.clock() + " AS TEXT)"
	}
	return "CAST(" + c + " AS TEXT)"
}

// cut is an argument that the clock's column is compared with: the first instant, or
// the civil day, that is too late.
func (s *Source) cut(q *statement, typ string, day time.Time, c retention.Cutoff) string {
	if s.m.Start.Format == Date {
		d := q.text(day.Format(time.DateOnly))
		if s.postgres && (typ == "date" || strings.HasPrefix(typ, "timestamp")) {
			return "CAST(" + d + " AS date)"
		}
		return d
	}
	at := c.Instant(day)
	wall := at.In(s.zone)
	switch {
	case s.m.Start.Format == Timestamp && s.postgres && typ == "timestamp with time zone":
		return "CAST(" + q.text(at.UTC().Format(time.RFC3339)) + " AS timestamptz)"
	case s.m.Start.Format == Timestamp && s.postgres:
		return "CAST(" + q.text(wall.Format("2006-01-02 15:04:05")) + " AS timestamp)"
	case s.m.Start.Format == Timestamp:
		_, offset := wall.Zone()
		return q.arg(at.Unix() + int64(offset)) // the column's wall clock, read as UTC
	case s.m.Start.Format == UnixMilli:
		return s.number(q, at.UnixMilli())
	}
	return s.number(q, at.Unix())
}

func (s *Source) number(q *statement, n int64) string {
	if s.postgres {
		return "CAST(" + q.text(fmt.Sprint(n)) + " AS bigint)"
	}
	return q.arg(n)
}

const oldest = -2208988800 // 1900-01-01

// implausible is the condition on starts that look like a default.
func (s *Source) implausible(typ string) string {
	c := s.startColumn(typ)
	switch s.m.Start.Format {
	case Timestamp:
		if s.postgres {
			zone := ""
			if typ == "timestamp with time zone" {
				zone = "+00"
			}
			return fmt.Sprintf("(%[1]s < '1900-01-01%[2]s' OR %[1]s >= '1970-01-01 00:00:00%[2]s' AND %[1]s < '1970-01-01 00:00:01%[2]s')", c, zone)
		}
		return fmt.Sprintf("(%[1]s < %d OR %[1]s = 0)", c, oldest)
	case Date:
		return fmt.Sprintf("(%[1]s < '1900-01-01' OR %[1]s = '1970-01-01')", c)
	case UnixMilli:
		return fmt.Sprintf("(%[1]s < %d OR %[1]s >= 0 AND %[1]s < 1000)", c, oldest*1000)
	}
	return fmt.Sprintf("(%[1]s < %d OR %[1]s = 0)", c, oldest)
}

var layouts = []string{"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly}

// start reads what startRaw selected into the facts. instants: the column knows its
// offset.
func (s *Source) start(raw sql.NullString, f *retention.Facts, instants bool) {
	if !raw.Valid || raw.String == "" {
		f.NotBegun = s.m.Start.Open && !raw.Valid
		return
	}
	v := raw.String
	var number int64
	if s.m.Start.Format != Date && (s.postgres || s.m.Start.Format != Timestamp) {
		if _, err := fmt.Sscan(v, &number); err != nil {
			return
		}
	}
	switch s.m.Start.Format {
	case Date:
		t, err := time.Parse(time.DateOnly, v)
		if err != nil {
			return
		}
		f.Start, f.StartIsDay, f.HasStart = t, true, true
		f.Implausible = t.Year() < 1900 || v == "1970-01-01"
		return
	case Unix:
		f.Start, f.HasStart = time.Unix(number, 0).UTC(), true
		f.Implausible = number < oldest || number == 0
		return
	case UnixMilli:
		f.Start, f.HasStart = time.UnixMilli(number).UTC(), true
		f.Implausible = number < oldest*1000 || number >= 0 && number < 1000
		return
	}
	wall, absolute := time.Time{}, false
	if s.postgres {
		wall = time.UnixMicro(number).UTC()
		absolute = instants
	} else {
		var err error
		for _, l := range layouts {
			if wall, err = time.Parse(l, v); err == nil {
				break
			}
			if wall, err = time.Parse(l+"Z07:00", v); err == nil {
				absolute = true
				break
			}
		}
		if err != nil {
			return
		}
	}
	f.Implausible = wall.Unix() < oldest || wall.Unix() == 0
	f.Start, f.HasStart = wall, true
	if !absolute && s.zone != time.UTC {
		f.Start = time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), s.zone)
	}
}

// doneWhen is the condition that a row was anonymised before; it is never NULL.
func (s *Source) doneWhen(q *statement) string {
	if len(s.m.Anonymise) == 0 {
		return ""
	}
	var all []string
	for _, a := range s.m.Anonymise {
		c := "t." + quote(a.Column)
		switch a.Method {
		case Null:
			all = append(all, c+" IS NULL")
		case Constant:
			all = append(all, "("+c+" IS NOT NULL AND CAST("+c+" AS TEXT) = "+q.text(a.Value)+")")
		case Email:
			all = append(all, "("+c+" IS NOT NULL AND CAST("+c+" AS TEXT) LIKE '%@"+emailDomain+"')")
		}
	}
	return "(" + strings.Join(all, " AND ") + ")"
}

// group is a country of the host with its cutoffs.
type group struct {
	written sql.NullString
	now     retention.Cutoff
	soon    retention.Cutoff
}

// groups finds how the host writes its countries.
func (s *Source) groups(ctx context.Context, sel retention.Selection) ([]group, error) {
	var out []group
	add := func(w sql.NullString) {
		out = append(out, group{w, sel.Resolver.Cutoff(s.m.Name, s.m.Class, w.String, sel.AsOf), sel.Resolver.Cutoff(s.m.Name, s.m.Class, w.String, sel.Soon)})
	}
	if s.m.Country.Constant != "" {
		add(sql.NullString{String: s.m.Country.Constant, Valid: true})
		return out, nil
	}
	q := s.statement()
	q.add("SELECT DISTINCT ", s.value(q, s.m.Country), s.from(), " ORDER BY 1")
	rows, err := s.db.QueryContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("countries: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var w sql.NullString
		if err := rows.Scan(&w); err != nil {
			return nil, fmt.Errorf("countries: %w", err)
		}
		if len(out) == 1000 {
			return nil, governance.Invalid("country", "the column has more than 1000 different values")
		}
		add(w)
	}
	return out, rows.Err()
}

// perCountry is a CASE over the countries that gives each its cut; NULL where nothing
// can be due.
func (s *Source) perCountry(q *statement, typ string, gs []group, day func(group) (time.Time, retention.Cutoff)) string {
	var b strings.Builder
	country := s.value(q, s.m.Country) // first: arguments stand in the order of the text
	for _, g := range gs {
		d, c := day(g)
		if g.now.State != "" || c.State != "" || d.IsZero() || !g.written.Valid {
			continue
		}
		b.WriteString(" WHEN " + q.text(g.written.String) + " THEN " + s.cut(q, typ, d, c))
	}
	if b.Len() == 0 {
		return "CASE WHEN " + country + " IS NULL THEN NULL END"
	}
	return "CASE " + country + b.String() + " END"
}

func dueCut(g group) (time.Time, retention.Cutoff)      { return g.now.Due, g.now }
func conflictCut(g group) (time.Time, retention.Cutoff) { return g.now.Conflict, g.now }
func soonCut(g group) (time.Time, retention.Cutoff)     { return g.soon.Due, g.soon }

// Plan implements retention.Source.
func (s *Source) Plan(ctx context.Context, sel retention.Selection, take func(retention.Facts) error) (retention.Population, error) {
	in, err := s.inspect(ctx)
	if err != nil {
		return retention.Population{}, err
	}
	gs, err := s.groups(ctx, sel)
	if err != nil {
		return retention.Population{}, err
	}
	pop, err := s.count(ctx, in, gs)
	if err != nil {
		return pop, err
	}
	children, err := s.childHolds(ctx, s.db, in, sel.Resolver)
	if err != nil {
		return pop, err
	}
	var after []any
	for {
		q := s.statement()
		s.selectFacts(q, in)
		q.add(s.from(), " WHERE ", s.startColumn(in.startType), " < ", s.perCountry(q, in.startType, gs, dueCut), " AND NOT ", s.implausible(in.startType))
		if done := s.doneWhen(q); done != "" {
			q.add(" AND NOT ", done)
		}
		names := make([]string, len(s.m.Key))
		values := make([]string, len(s.m.Key))
		for i, k := range s.m.Key {
			names[i] = "t." + quote(k)
			q.add(" AND ", names[i], " IS NOT NULL")
		}
		if after != nil {
			for i, k := range s.m.Key {
				values[i] = s.keyValue(q, after[i], in.tables[s.m.Table].columns[k].Type)
			}
			q.add(" AND (", strings.Join(names, ", "), ") > (", strings.Join(values, ", "), ")")
		}
		q.add(" ORDER BY ", strings.Join(names, ", "), fmt.Sprintf(" LIMIT %d", s.opts.PageSize))
		found, err := s.facts(ctx, s.db, in, q, children)
		if err != nil {
			return pop, fmt.Errorf("due rows: %w", err)
		}
		for _, f := range found {
			if err := take(f.Facts); err != nil {
				return pop, err
			}
			after = f.parts
		}
		if len(found) < s.opts.PageSize {
			return pop, nil
		}
	}
}

// count counts the population by country, in one reading of the table.
func (s *Source) count(ctx context.Context, in inspected, gs []group) (retention.Population, error) {
	q := s.statement()
	start, bad := s.startColumn(in.startType), s.implausible(in.startType)
	sum := func(cond string) string { return ", COALESCE(SUM(CASE WHEN " + cond + " THEN 1 ELSE 0 END), 0)" }
	q.add("SELECT ", s.value(q, s.m.Country), ", COUNT(*)")
	q.add(sum(start+" < "+s.perCountry(q, in.startType, gs, dueCut)+" AND NOT "+bad), sum(start+" < "+s.perCountry(q, in.startType, gs, soonCut)+" AND NOT "+bad),
		sum(start+" < "+s.perCountry(q, in.startType, gs, conflictCut)+" AND NOT "+start+" < "+s.perCountry(q, in.startType, gs, dueCut)+" AND NOT "+bad),
		sum(s.noStart(in.startType)), sum(bad), s.from())
	if done := s.doneWhen(q); done != "" {
		q.add(" WHERE NOT ", done)
	}
	if s.m.Country.Constant == "" {
		q.add(" GROUP BY 1")
	}
	pop := retention.Population{Groups: []retention.Group{}}
	rows, err := s.db.QueryContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return pop, fmt.Errorf("population: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var w sql.NullString
		var g retention.Group
		if err := rows.Scan(&w, &g.Total, &g.Due, &g.Soon, &g.Conflict, &g.NoStart, &g.Implausible); err != nil {
			return pop, fmt.Errorf("population: %w", err)
		}
		i := slices.IndexFunc(gs, func(g group) bool { return g.written == w })
		if i < 0 {
			continue // came in between; the next plan sees it
		}
		g.Written, g.Country, g.State, g.Action = w.String, gs[i].now.Country, gs[i].now.State, gs[i].now.Action
		if g.Soon -= g.Due; g.Soon < 0 {
			g.Soon = 0
		}
		pop.Groups = append(pop.Groups, g)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return pop, fmt.Errorf("population: %w", err)
	}
	for i := range pop.Groups {
		if err := s.samples(ctx, in, gs, &pop.Groups[i]); err != nil {
			return pop, err
		}
	}
	return pop, nil
}

const sampleSize = 20

// samples finds some keys for each exception of a group.
func (s *Source) samples(ctx context.Context, in inspected, gs []group, g *retention.Group) error {
	start, bad := s.startColumn(in.startType), s.implausible(in.startType)
	for _, want := range []struct {
		state retention.State
		count int64
		cond  func(q *statement) string
	}{
		{g.State, g.Total, func(*statement) string { return "1 = 1" }},
		{retention.Conflict, g.Conflict, func(q *statement) string {
			return start + " < " + s.perCountry(q, in.startType, gs, conflictCut) + " AND NOT " + start + " < " + s.perCountry(q, in.startType, gs, dueCut) + " AND NOT " + bad
		}},
		{retention.NoStart, g.NoStart, func(*statement) string { return s.noStart(in.startType) }},
		{retention.Implausible, g.Implausible, func(*statement) string { return bad }},
	} {
		if want.count == 0 || want.state == "" || g.State != "" && want.state != g.State {
			continue
		}
		q := s.statement()
		s.selectFacts(q, in)
		q.add(s.from(), " WHERE ", want.cond(q))
		if s.m.Country.Constant == "" {
			if g.Written == "" {
				q.add(" AND COALESCE(", s.value(q, s.m.Country), ", '') = ''")
			} else {
				q.add(" AND ", s.value(q, s.m.Country), " = ", q.text(g.Written))
			}
		}
		if done := s.doneWhen(q); done != "" {
			q.add(" AND NOT ", done)
		}
		q.add(fmt.Sprintf(" LIMIT %d", sampleSize))
		found, err := s.facts(ctx, s.db, in, q, nil)
		if err != nil {
			return fmt.Errorf("sample of %s: %w", want.state, err)
		}
		keys := []string{}
		for _, f := range found {
			keys = append(keys, f.Key)
		}
		g.Sample = append(g.Sample, retention.Sample{State: want.state, Keys: keys})
	}
	return nil
}

// row is a row's facts with its key in parts.
type row struct {
	retention.Facts
	parts []any
	done  bool // anonymised before
}

// selectFacts begins a SELECT of what [Source.facts] reads.
func (s *Source) selectFacts(q *statement, in inspected) {
	q.add("SELECT ")
	for _, k := range s.m.Key {
		q.add(s.keyColumn("t", k, in.tables[s.m.Table].columns[k].Type), ", ")
	}
	q.add(s.value(q, s.m.Country), ", ", s.value(q, s.m.Tenant), ", ", s.value(q, s.m.Subject), ", ", s.startRaw(in.startType))
	if done := s.doneWhen(q); done != "" {
		q.add(", CASE WHEN ", done, " THEN 1 ELSE 0 END")
	} else {
		q.add(", 0")
	}
}

func (s *Source) facts(ctx context.Context, db querier, in inspected, q *statement, children map[string][]string) ([]row, error) {
	rows, err := db.QueryContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	instants := in.startType == "timestamp with time zone"
	classes := classesOf(s.m.Children)
	n := len(s.m.Key)
	var out []row
	for rows.Next() {
		r := row{parts: make([]any, n)}
		var country, tenant, subject, start sql.NullString
		var done int
		to := make([]any, 0, n+5)
		for i := range r.parts {
			to = append(to, &r.parts[i])
		}
		if err := rows.Scan(append(to, &country, &tenant, &subject, &start, &done)...); err != nil {
			return nil, err
		}
		for i, p := range r.parts {
			if b, ok := p.([]byte); ok {
				r.parts[i] = string(b)
			}
		}
		key, err := retention.EncodeKey(r.parts)
		if err != nil {
			return nil, err
		}
		r.Facts = retention.Facts{Source: s.m.Name, Class: s.m.Class, Key: key, Country: country.String, Tenant: tenant.String, Subject: subject.String,
			Classes: classes, ChildHolds: children[key]}
		r.done = done == 1
		s.start(start, &r.Facts, instants)
		out = append(out, r)
	}
	return out, rows.Err()
}

func classesOf(cs []Child) []string {
	var out []string
	for _, c := range cs {
		if c.Class != "" {
			out = append(out, c.Class)
		}
		out = append(out, classesOf(c.Children)...)
	}
	return out
}

// Row implements retention.Reader.
func (s *Source) Row(ctx context.Context, key string, r *retention.Resolver) (retention.Facts, bool, error) {
	in, err := s.inspect(ctx)
	if err != nil {
		return retention.Facts{}, false, err
	}
	keys, err := s.decode([]string{key})
	if err != nil {
		return retention.Facts{}, false, governance.Invalid("key", "%v", err)
	}
	if s.postgres && integer(in.tables[s.m.Table].columns[s.m.Key[0]].Type) {
		if _, ok := keys[0][0].(int64); !ok {
			return retention.Facts{}, false, nil
		}
	}
	children, err := s.childHolds(ctx, s.db, in, r)
	if err != nil {
		return retention.Facts{}, false, err
	}
	q := s.statement()
	s.selectFacts(q, in)
	q.add(s.from(), " WHERE ", s.keyIn(q, "t", in.tables[s.m.Table], s.m.Key, keys))
	found, err := s.facts(ctx, s.db, in, q, children)
	if err != nil || len(found) == 0 {
		return retention.Facts{}, false, err
	}
	return found[0].Facts, true, nil
}

func (s *Source) decode(keys []string) ([][]any, error) {
	out := make([][]any, len(keys))
	for i, k := range keys {
		parts, err := retention.DecodeKey(k)
		if err != nil {
			return nil, err
		}
		if len(parts) != len(s.m.Key) {
			return nil, fmt.Errorf("key %q has %d parts, want %d", k, len(parts), len(s.m.Key))
		}
		out[i] = parts
	}
	return out, nil
}

// chain is the way from the table to one of its related tables.
type chain []Child

func (s *Source) chains(cs []Child, way chain) []chain {
	var out []chain
	for _, c := range cs {
		here := append(slices.Clone(way), c)
		out = append(out, s.chains(c.Children, here)...)
		out = append(out, here) // after its own children: deletes go depth first
	}
	return out
}

// where is the condition on the last table of a chain that its rows go with the
// given rows.
func (s *Source) where(q *statement, in inspected, way chain, keys [][]any) string {
	cond, table, key := "", s.m.Table, s.m.Key
	for i, c := range way {
		refers := c.Refers
		if len(refers) == 0 {
			refers = key
		}
		cols := names(c.Columns)
		if i == 0 && slices.Equal(refers, s.m.Key) {
			cond = s.keyIn(q, "", in.tables[c.Table], c.Columns, keys)
		} else {
			if i == 0 {
				cond = s.keyIn(q, "", in.tables[table], s.m.Key, keys)
			}
			cond = "(" + cols + ") IN (SELECT " + names(refers) + " FROM " + s.in(table) + " WHERE " + cond + ")"
		}
		table, key = c.Table, c.Key
	}
	return cond
}

func names(cols []string) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = quote(c)
	}
	return strings.Join(out, ", ")
}

// Related implements retention.Source.
func (s *Source) Related(ctx context.Context, keys []string) (int64, error) {
	if len(s.m.Children) == 0 || len(keys) == 0 {
		return 0, nil
	}
	in, err := s.inspect(ctx)
	if err != nil {
		return 0, err
	}
	parts, err := s.decode(keys)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, way := range s.chains(s.m.Children, nil) {
		q := s.statement()
		q.add("SELECT COUNT(*) FROM ", s.in(way[len(way)-1].Table), " WHERE ", s.where(q, in, way, parts))
		var n int64
		if err := s.db.QueryRowContext(ctx, q.b.String(), q.args...).Scan(&n); err != nil {
			return 0, fmt.Errorf("count %s: %w", way[len(way)-1].Table, err)
		}
		total += n
	}
	return total, nil
}

// childHolds finds the rows of this table that a hold on a related row keeps: a group
// goes together or not at all.
func (s *Source) childHolds(ctx context.Context, db querier, in inspected, r *retention.Resolver) (map[string][]string, error) {
	var out map[string][]string
	for _, h := range r.Holds() {
		if h.Selector.Child == "" || h.Selector.Source != s.m.Name {
			continue
		}
		for _, way := range s.chains(s.m.Children, nil) {
			c := way[len(way)-1]
			if c.Table != h.Selector.Child || len(c.Key) == 0 {
				continue
			}
			parts, err := retention.DecodeKey(h.Selector.Key)
			if err != nil || len(parts) != len(c.Key) {
				continue
			}
			keys, err := s.owners(ctx, db, in, way, parts)
			if err != nil {
				return nil, fmt.Errorf("hold on %s: %w", c.Table, err)
			}
			for _, k := range keys {
				if out == nil {
					out = map[string][]string{}
				}
				out[k] = append(out[k], h.ID.String())
			}
		}
	}
	return out, nil
}

// owners finds the rows that a related row goes with.
func (s *Source) owners(ctx context.Context, db querier, in inspected, way chain, child []any) ([]string, error) {
	last := way[len(way)-1]
	q := s.statement()
	// From the inside out: the related row, then each table above it.
	cond := s.keyIn(q, "", in.tables[last.Table], last.Key, [][]any{child})
	for i := len(way) - 1; i >= 0; i-- {
		refers := way[i].Refers
		if len(refers) == 0 {
			refers = s.m.Key
			if i > 0 {
				refers = way[i-1].Key
			}
		}
		cond = "(" + names(refers) + ") IN (SELECT " + names(way[i].Columns) + " FROM " + s.in(way[i].Table) + " WHERE " + cond + ")"
	}
	q.add("SELECT ")
	for i, k := range s.m.Key {
		if i > 0 {
			q.add(", ")
		}
		q.add(s.keyColumn("t", k, in.tables[s.m.Table].columns[k].Type))
	}
	q.add(" FROM ", s.in(s.m.Table), " t WHERE ", cond)
	rows, err := db.QueryContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		parts := make([]any, len(s.m.Key))
		to := make([]any, len(parts))
		for i := range parts {
			to[i] = &parts[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		key, err := retention.EncodeKey(parts)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, rows.Err()
}
