package sqlsource

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

// Mapping says how one table of the host is retained.
type Mapping struct {
	Name      string   `yaml:"name" json:"name"` // of the source
	Class     string   `yaml:"class" json:"class"`
	Schema    string   `yaml:"schema" json:"schema,omitempty"` // PostgreSQL; default: the handle's search path
	Table     string   `yaml:"table" json:"table"`
	Key       []string `yaml:"key" json:"key"`
	Parent    *Parent  `yaml:"parent" json:"parent,omitempty"` // where columns marked parent come from
	Start     Start    `yaml:"start" json:"start"`
	Country   Column   `yaml:"country" json:"country"`
	Subject   Column   `yaml:"subject" json:"subject,omitzero"`
	Tenant    Column   `yaml:"tenant" json:"tenant,omitzero"`
	Delete    bool     `yaml:"delete" json:"delete,omitempty"` // rows may be deleted
	Children  []Child  `yaml:"children" json:"children,omitempty"`
	Anonymise []Mask   `yaml:"anonymise" json:"anonymise,omitempty"` // rows may be anonymised, so
}

// Parent is a table that a row refers to.
type Parent struct {
	Table   string   `yaml:"table" json:"table"`
	Columns []string `yaml:"columns" json:"columns"` // in the mapped table
	Key     []string `yaml:"key" json:"key"`         // in the parent
}

// Column is where a value comes from.
type Column struct {
	Column   string `yaml:"column" json:"column,omitempty"`
	Parent   bool   `yaml:"parent" json:"parent,omitempty"` // of the parent, not of the table itself
	Constant string `yaml:"constant" json:"constant,omitempty"`
}

// Format says how a clock's column is written.
type Format string

// The formats.
const (
	Timestamp Format = "timestamp" // a timestamp, or on SQLite ISO text; without an offset it is in Start.Zone
	Date      Format = "date"      // a civil day: a date, or text that begins YYYY-MM-DD
	Unix      Format = "unix"      // seconds since 1970
	UnixMilli Format = "unix_ms"
)

// Start is the column at which a row's period begins. A NULL there is never a date:
// it is an exception, or with Open a period that has not begun.
type Start struct {
	Column string `yaml:"column" json:"column"`
	Parent bool   `yaml:"parent" json:"parent,omitempty"`
	Format Format `yaml:"format" json:"format"`
	Zone   string `yaml:"zone" json:"zone,omitempty"` // of timestamps without an offset; default UTC
	Open   bool   `yaml:"open" json:"open,omitempty"` // NULL means: not begun, such as a contract that goes on
	Last   *Last  `yaml:"last" json:"last,omitempty"` // Column is of this table: the latest one counts
}

// Last is a table whose newest row is a row's last activity: the last invoice of a
// customer.
type Last struct {
	Table   string   `yaml:"table" json:"table"`
	Columns []string `yaml:"columns" json:"columns"` // that refer to the mapped table's key
}

// Child is a table whose rows go with the row they refer to.
type Child struct {
	Table    string   `yaml:"table" json:"table"`
	Class    string   `yaml:"class" json:"class,omitempty"` // a hold on this class holds the row
	Columns  []string `yaml:"columns" json:"columns"`       // that refer to the table above
	Refers   []string `yaml:"refers" json:"refers"`         // to these columns of it; default: its key
	Key      []string `yaml:"key" json:"key,omitempty"`     // needed for holds on single rows and for children of its own
	Detach   bool     `yaml:"detach" json:"detach,omitempty"`
	Children []Child  `yaml:"children" json:"children,omitempty"`
}

// Method says what replaces a value.
type Method string

// The methods of anonymising. Hash and email use a secret of the run that is
// destroyed with its end: until then they are pseudonyms.
const (
	Null     Method = "null"
	Constant Method = "constant"
	Hash     Method = "hash"  // keyed digest of the value, as text
	Email    Method = "email" // an address below anonymised.invalid, different for each row
	Year     Method = "year"  // the date, cut to 1 January
	Month    Method = "month" // the date, cut to the first of its month
)

// Mask is what happens to one column.
type Mask struct {
	Column string `yaml:"column" json:"column"`
	Method Method `yaml:"method" json:"method"`
	Value  string `yaml:"value" json:"value,omitempty"` // of constant
}

// Load reads mappings from YAML, a list under "sources". Unknown fields are errors
// with their line.
func Load(b []byte) ([]Mapping, error) {
	var doc struct {
		Sources []Mapping `yaml:"sources"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.DisallowUnknownField()).Decode(&doc); err != nil {
		return nil, governance.Invalid("mapping", "%s", yaml.FormatError(err, false, false))
	}
	if len(doc.Sources) == 0 {
		return nil, governance.Invalid("sources", "names no source")
	}
	var errs []error
	for i, m := range doc.Sources {
		errs = append(errs, m.validate(fmt.Sprintf("sources[%d].", i)))
	}
	return doc.Sources, errors.Join(errs...)
}

func (m Mapping) validate(at string) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, governance.Invalid(at+field, format, args...))
	}
	for field, v := range map[string]string{"name": m.Name, "class": m.Class, "table": m.Table, "start.column": m.Start.Column} {
		if v == "" {
			bad(field, "is required")
		}
	}
	if len(m.Key) == 0 {
		bad("key", "is required: rows without a key cannot be named")
	}
	if !m.Delete && len(m.Anonymise) == 0 {
		bad("delete", "say delete or anonymise, else nothing can be done")
	}
	if !m.Delete && len(m.Children) > 0 {
		bad("children", "go only with delete")
	}
	switch m.Start.Format {
	case Timestamp, Date, Unix, UnixMilli:
	default:
		bad("start.format", "%q is none of timestamp, date, unix, unix_ms", m.Start.Format)
	}
	if _, err := time.LoadLocation(m.Start.Zone); err != nil {
		bad("start.zone", "%q is not known", m.Start.Zone)
	}
	if (m.Country.Column == "") == (m.Country.Constant == "") {
		bad("country", "name either a column or a constant")
	}
	for field, c := range map[string]Column{"subject": m.Subject, "tenant": m.Tenant} {
		if c.Column != "" && c.Constant != "" {
			bad(field, "name either a column or a constant")
		}
	}
	if p := m.Parent; p != nil && (p.Table == "" || len(p.Columns) == 0 || len(p.Columns) != len(p.Key)) {
		bad("parent", "table, columns and key are required, as many columns as key")
	}
	if l := m.Start.Last; l != nil && (l.Table == "" || len(l.Columns) != len(m.Key) || m.Start.Parent) {
		bad("start.last", "table and columns are required, as many as the key has, and not with parent")
	}
	if m.Parent == nil && (m.Start.Parent || m.Country.Parent || m.Subject.Parent || m.Tenant.Parent) {
		bad("parent", "is required: a column is said to come from it")
	}
	marks := false
	for i, a := range m.Anonymise {
		field := fmt.Sprintf("anonymise[%d].", i)
		if a.Column == "" {
			bad(field+"column", "is required")
		}
		switch a.Method {
		case Null, Constant, Email:
			marks = true
		case Hash, Year, Month:
		default:
			bad(field+"method", "%q is none of null, constant, hash, email, year, month", a.Method)
		}
		if (a.Method == Constant) != (a.Value != "") {
			bad(field+"value", "goes with constant, and only with it")
		}
		for _, k := range m.Key {
			if k == a.Column {
				bad(field+"column", "is part of the key")
			}
		}
		if a.Column == m.Start.Column && !m.Start.Parent && m.Start.Last == nil {
			bad(field+"column", "is the clock's own")
		}
	}
	if len(m.Anonymise) > 0 && !marks {
		bad("anonymise", "one column must become null, a constant or an email: it tells that a row is done")
	}
	return errors.Join(append(errs, validateChildren(at, m.Children))...)
}

func validateChildren(at string, cs []Child) error {
	var errs []error
	for i, c := range cs {
		field := fmt.Sprintf("%schildren[%d].", at, i)
		if c.Table == "" || len(c.Columns) == 0 {
			errs = append(errs, governance.Invalid(field+"table", "table and columns are required"))
		}
		if len(c.Refers) > 0 && len(c.Refers) != len(c.Columns) {
			errs = append(errs, governance.Invalid(field+"refers", "has another length than columns"))
		}
		if c.Detach && len(c.Children) > 0 {
			errs = append(errs, governance.Invalid(field+"children", "do not go with detach"))
		}
		for j, g := range c.Children {
			if len(g.Refers) == 0 && len(c.Key) == 0 {
				errs = append(errs, governance.Invalid(fmt.Sprintf("%schildren[%d].refers", field, j), "is required, or the key of the table above"))
			}
		}
		errs = append(errs, validateChildren(field, c.Children))
	}
	return errors.Join(errs...)
}

func (m Mapping) actions() []retention.Action {
	out := []retention.Action{}
	if m.Delete {
		out = append(out, retention.Delete)
	}
	if len(m.Anonymise) > 0 {
		out = append(out, retention.Anonymise)
	}
	return out
}
