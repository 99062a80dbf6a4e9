package retention

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrStaleHolds is returned by [Source.Apply] when a hold was placed that the
	// batch does not know of: load the holds again and try again.
	ErrStaleHolds = errors.New("retention: holds have changed")
	// ErrBrake is returned by [Source.Apply] when a batch would touch more rows than
	// the plan leaves room for. Nothing of the batch was done.
	ErrBrake = errors.New("retention: more rows than planned")
)

// Source is where retained data lives: the rows of one class, with the rows that go
// with each. Implementations: see sourcetest.
type Source interface {
	// Describe says what the source is. It fails when the host's schema no longer fits.
	Describe(ctx context.Context) (Descriptor, error)
	// Plan counts the population and gives every row that a decision of Due concerns,
	// held ones included, in the order of its key. It changes nothing.
	Plan(ctx context.Context, sel Selection, take func(Facts) error) (Population, error)
	// Related counts the rows that go with the given ones.
	Related(ctx context.Context, keys []string) (int64, error)
	// Apply does one batch in one transaction of the host, which checks the fence of
	// holds, decides over every row again and writes the checkpoint (run, seq). A batch
	// that has its checkpoint already is not done again: its result is read back.
	Apply(ctx context.Context, b Batch) (BatchResult, error)
	// Applied gives the batches of a run that have their checkpoint, in order.
	Applied(ctx context.Context, run string) ([]BatchResult, error)
	// Fence returns when no batch that knows only holds before epoch can commit any
	// more.
	Fence(ctx context.Context, epoch int64) error
}

// Reader is implemented by sources that can read the facts of one row, for "why is
// this row kept". ok is false when there is no such row.
type Reader interface {
	Row(ctx context.Context, key string, r *Resolver) (f Facts, ok bool, err error)
}

// Descriptor says what a source is.
type Descriptor struct {
	Name        string   `json:"name"`
	Class       string   `json:"class"`
	Place       string   `json:"place"` // in words, without secrets: "SQLite, table crm_customer"
	Key         []string `json:"key"`
	Actions     []Action `json:"actions"`  // what it is able to do
	Related     []string `json:"related"`  // what goes with a row
	Warnings    []string `json:"warnings"` // such as a foreign key without an index
	Fingerprint string   `json:"fingerprint"`
}

// Selection says which rows a plan is about.
type Selection struct {
	AsOf     time.Time
	Soon     time.Time // also count what is due by then
	Resolver *Resolver
}

// Population is the whole of a source, by country.
type Population struct {
	Groups []Group `json:"groups"`
}

// Group is the rows of one country, as the host writes it.
type Group struct {
	Written     string   `json:"written"` // by the host; empty: NULL
	Country     string   `json:"country"` // code; empty: unknown
	State       State    `json:"state,omitempty"`
	Action      Action   `json:"action,omitempty"`
	Total       int64    `json:"total"`
	Due         int64    `json:"due"` // held ones included
	Soon        int64    `json:"soon"`
	Conflict    int64    `json:"conflict"`
	NoStart     int64    `json:"no_start"`
	Implausible int64    `json:"implausible"`
	Sample      []Sample `json:"sample,omitempty"`
}

// Sample is a few keys of one state of a group.
type Sample struct {
	State State    `json:"state"`
	Keys  []string `json:"keys"`
}

// Batch is some planned rows. Keys are in the canonical text form of Facts.Key.
type Batch struct {
	Run      string
	Seq      int
	Keys     []string
	AsOf     time.Time
	Epoch    int64     // of the holds in Resolver
	Resolver *Resolver // decides over every row again, inside the host's transaction
	Action   Action    // what was planned for all of them
	Secret   []byte    // of the run: keys the hashes that replace values
	Salt     []byte    // of the run: salts the digests of keys
	Budget   int64     // most rows to touch, related ones included
}

// Outcome says what became of a planned row.
type Outcome string

// The outcomes. Every planned row has exactly one.
const (
	Deleted     Outcome = "deleted"
	Anonymised  Outcome = "anonymised"
	SkippedHeld Outcome = "held"
	Changed     Outcome = "changed" // gone, no longer due, or already anonymised
	Failed      Outcome = "failed"  // the host refused it
)

// Item is a planned row that was left alone, with the reason.
type Item struct {
	Key     string  `json:"key"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"` // never a value of the row
}

// Counts are rows by outcome. Planned is their sum once a run is through.
type Counts struct {
	Planned    int64 `json:"planned"`
	Deleted    int64 `json:"deleted"`
	Anonymised int64 `json:"anonymised"`
	Held       int64 `json:"held"`
	Changed    int64 `json:"changed"`
	Failed     int64 `json:"failed"`
	Related    int64 `json:"related"` // rows that went with them; not part of Planned
}

// Done counts the rows that have an outcome.
func (c Counts) Done() int64 { return c.Deleted + c.Anonymised + c.Held + c.Changed + c.Failed }

// Touched counts the rows that were changed in the host.
func (c Counts) Touched() int64 { return c.Deleted + c.Anonymised + c.Related }

// BatchResult is what became of a batch. It is stored in the host, in the same
// commit as the work.
type BatchResult struct {
	Seq      int       `json:"seq"`
	Counts   Counts    `json:"counts"`
	Items    []Item    `json:"items"`
	Root     string    `json:"root"` // Merkle root over the salted digests of key and outcome, in order
	At       time.Time `json:"at"`
	Replayed bool      `json:"-"`
}
