package connector

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Connector is one vendor account that Reeve keeps in line. Methods are called from
// several goroutines at a time. Configure comes before everything but Describe, may
// come again, and never runs beside another call.
type Connector interface {
	// Describe says what this is. It is constant and holds no setting.
	Describe() Descriptor
	// Configure hands over settings and secrets, their only way in. It keeps them
	// in memory and does not call the vendor.
	Configure(ctx context.Context, cfg Config) error
	// Check tells whether the vendor answers and takes the credentials.
	Check(ctx context.Context) error
}

// Upserter brings accounts at the vendor in line with ours: the account of a CRM,
// the customer of a billing system, the organization of a help desk.
type Upserter interface {
	// Upsert answers one result for each account, in the same order. See [Each].
	Upsert(ctx context.Context, batch []Account) []Result
}

// Reader reads accounts back, to find drift.
type Reader interface {
	// Get answers an [Error] with [NotFound] for a tenant the vendor does not hold.
	Get(ctx context.Context, tenantID string) (Remote, error)
	// List pages by keyset: an account that exists throughout is seen exactly once.
	// The first cursor is empty; the last page has no Next.
	List(ctx context.Context, cursor string, limit int) (Page, error)
}

// Lists keeps tenants on named lists of the vendor: a campaign, a segment, a queue.
type Lists interface {
	// AddToList and RemoveFromList answer Updated, Unchanged or SkippedStale.
	AddToList(ctx context.Context, m Membership) (Outcome, error)
	RemoveFromList(ctx context.Context, m Membership) (Outcome, error)
	InList(ctx context.Context, list, tenantID string) (bool, error)
}

// Tickets opens and follows tickets of a help desk.
type Tickets interface {
	// OpenTicket answers the open or closed ticket that has the dedup key, or makes
	// one: created tells which.
	OpenTicket(ctx context.Context, d TicketDraft) (t Ticket, created bool, err error)
	// FindTicket answers an [Error] with [NotFound] when no ticket has the key.
	FindTicket(ctx context.Context, dedupKey string) (Ticket, error)
	// CommentTicket adds a comment once for each idempotency id.
	CommentTicket(ctx context.Context, c TicketComment) (Outcome, error)
	// CloseTicket closes; closing a closed ticket is Unchanged.
	CloseTicket(ctx context.Context, c TicketComment) (Outcome, error)
}

// Kind is the kind of system behind a connector.
type Kind string

// The kinds of connector.
const (
	CRM       Kind = "crm"
	Billing   Kind = "billing"
	Ticketing Kind = "ticketing"
)

// Capability is the id of one power, as the plugin protocol carries it. Ids are
// never given a second meaning.
type Capability string

// The capabilities of this version.
const (
	CanUpsert  Capability = "accounts.upsert" // Upserter
	CanRead    Capability = "accounts.read"   // Reader
	CanLists   Capability = "lists"           // Lists
	CanTickets Capability = "tickets"         // Tickets
)

// Capabilities finds what c offers, in the order of the constants.
func Capabilities(c Connector) []Capability {
	var caps []Capability
	if _, ok := c.(Upserter); ok {
		caps = append(caps, CanUpsert)
	}
	if _, ok := c.(Reader); ok {
		caps = append(caps, CanRead)
	}
	if _, ok := c.(Lists); ok {
		caps = append(caps, CanLists)
	}
	if _, ok := c.(Tickets); ok {
		caps = append(caps, CanTickets)
	}
	return caps
}

// Descriptor is what a connector says of itself.
type Descriptor struct {
	ID       string  // "acme-crm": lower case, digits, dashes
	Name     string  // "Acme CRM"
	Version  string  // semantic version of the connector, "1.2.0"
	Kind     Kind    // what kind of system it is
	Config   []Field // what Configure wants
	MaxBatch int     // most accounts in one Upsert; 0: [DefaultBatch]
}

// DefaultBatch is the batch of a connector that names none, and MaxBatch the most
// that any may name.
const (
	DefaultBatch = 100
	MaxBatch     = 1000
)

// Field is one setting.
type Field struct {
	Key      string
	Title    string
	Help     string
	Required bool
	Secret   bool // write only: never shown, logged or described
}

// Config is settings by key. It prints its keys, never its values.
type Config map[string]string

func (c Config) String() string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return "config[" + strings.Join(keys, " ") + "]"
}

// GoString keeps values out of %#v.
func (c Config) GoString() string { return c.String() }

// LogValue keeps values out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Validate reports settings that are missing or that d does not know.
func (d Descriptor) Validate(cfg Config) error {
	for _, f := range d.Config {
		if f.Required && cfg[f.Key] == "" {
			return &Error{Code: Invalid, Field: f.Key, Message: "is required"}
		}
	}
	for k := range cfg {
		if !slices.ContainsFunc(d.Config, func(f Field) bool { return f.Key == k }) {
			return &Error{Code: Invalid, Field: k, Message: "is not a setting of " + d.ID}
		}
	}
	return nil
}

// Meta says whose record it is, how old, and which retries are the same write.
type Meta struct {
	TenantID      string
	SourceVersion int64  // the tenant's version the record was made from; rises with every change
	IdempotencyID string // the same for every attempt at one write
}

// Validate refuses a record that could not be kept in order.
func (m Meta) Validate() error {
	switch {
	case m.TenantID == "":
		return &Error{Code: Invalid, Field: "tenant_id", Message: "is required"}
	case m.SourceVersion <= 0:
		return &Error{Code: Invalid, Field: "source_version", Message: "must be at least 1"}
	case m.IdempotencyID == "":
		return &Error{Code: Invalid, Field: "idempotency_id", Message: "is required"}
	}
	return nil
}

// Account is the whole state of a tenant. It replaces what the vendor holds, so a
// connector that missed one change has lost nothing; each kind of system takes the
// fields it knows.
type Account struct {
	Meta
	Event        string // what brought this about, "tenant.plan_changed"; for the vendor's own log
	Name         string
	Country      string // ISO 3166-1 alpha-2
	Region       string
	Owner        string // id of the customer-success manager
	Status       string // trial, active, closed
	Suspended    bool
	Plan         string
	Seats        int64
	RenewalAt    time.Time
	Entitlements []Entitlement
	ExternalKeys map[string][]string // by system: "domain", "email"
	Attributes   map[string]string
}

// Entitlement is what a tenant may use.
type Entitlement struct {
	Feature   string
	Quantity  int64 // 0: unlimited
	ExpiresAt time.Time
}

// Remote is an account as the vendor holds it. Fields the vendor does not keep are
// zero; Fields names the ones it does, as in "name", "plan", so that drift is looked
// for only there. An empty Fields means all.
type Remote struct {
	Account
	RemoteID  string
	RemoteURL string
	Fields    []string
}

// Page is one page of a [Reader].
type Page struct {
	Items []Remote
	Next  string // empty on the last page
}

// Membership puts a tenant on a list or takes it off.
type Membership struct {
	Meta
	List string
}

// TicketDraft is a ticket to open. At most one ticket has a dedup key.
type TicketDraft struct {
	Meta
	DedupKey string
	Subject  string
	Body     string
	Priority string // low, normal, high, urgent
}

// TicketComment is a remark on a ticket, or its closing words.
type TicketComment struct {
	Meta
	TicketID string
	Body     string
}

// Ticket is a ticket of the vendor.
type Ticket struct {
	ID        string
	URL       string
	TenantID  string
	DedupKey  string
	Subject   string
	State     string // open, closed
	CreatedAt time.Time
}

// The states of a ticket.
const (
	TicketOpen   = "open"
	TicketClosed = "closed"
)

func (a Account) String() string {
	return fmt.Sprintf("account %s at version %d", a.TenantID, a.SourceVersion)
}
