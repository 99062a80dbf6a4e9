package integrationsapi

import (
	"time"

	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/connector"
)

// IntegrationsTargetInput describes a target.
type IntegrationsTargetInput struct {
	Name      string            `json:"name" minLength:"1" maxLength:"100"`
	Kind      string            `json:"kind" enum:"webhook,crm,billing,ticketing"`
	Connector string            `json:"connector,omitempty" maxLength:"64" doc:"Id of an installed connector; none for a webhook"`
	Config    map[string]string `json:"config,omitempty" doc:"url of a webhook (and signature: v1 or v1a); the connector's settings"`
	Secrets   map[string]string `json:"secrets,omitempty" writeOnly:"true" doc:"Of a connector. Never comes back"`
	Events    []string          `json:"events" maxItems:"50" doc:"Types, or prefix.*"`
	Mode      string            `json:"mode,omitempty" enum:"strict,park,coalesce" doc:"When a delivery fails: strict lets the tenant's next wait, park lets it go first, coalesce sends the newest state; default park for a webhook, coalesce for a connector"`
	Reason    string            `json:"reason,omitempty" maxLength:"500"`
}

func (in IntegrationsTargetInput) input() integrations.TargetInput {
	return integrations.TargetInput{Name: in.Name, Kind: integrations.Kind(in.Kind), Connector: in.Connector, Config: in.Config, Secrets: in.Secrets,
		Events: in.Events, Mode: integrations.Mode(in.Mode)}
}

// IntegrationsTarget is a system that is told about tenants.
type IntegrationsTarget struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	Kind         string            `json:"kind" enum:"webhook,crm,billing,ticketing"`
	Connector    string            `json:"connector,omitempty"`
	Config       map[string]string `json:"config"`
	Secrets      []string          `json:"secrets" doc:"Names of the secrets that are set"`
	PublicKey    string            `json:"public_key,omitempty" doc:"Verifies v1a signatures"`
	Events       []string          `json:"events"`
	Mode         string            `json:"mode" enum:"strict,park,coalesce"`
	State        string            `json:"state" enum:"active,paused"`
	Cause        string            `json:"cause,omitempty" enum:"manual,secret,authentication,gone,blocked"`
	Detail       string            `json:"detail,omitempty"`
	PausedAt     *time.Time        `json:"paused_at,omitempty"`
	Failures     int64             `json:"failures" doc:"In a row"`
	FailingSince *time.Time        `json:"failing_since,omitempty"`
	Lag          IntegrationsLag   `json:"lag"`
	Version      int64             `json:"version"`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
}

// IntegrationsLag is how far a target is behind.
type IntegrationsLag struct {
	Waiting       int64      `json:"waiting"`
	OldestSeconds int64      `json:"oldest_seconds" doc:"Age of the oldest that waits"`
	Dead          int64      `json:"dead"`
	LastAt        *time.Time `json:"last_at,omitempty" doc:"Of the last delivery"`
}

// IntegrationsCreated is a new target.
type IntegrationsCreated struct {
	ID        string `json:"id"`
	Secret    string `json:"secret,omitempty" doc:"Signing secret of a webhook, shown this once; absent on a replay"`
	PublicKey string `json:"public_key,omitempty"`
}

// IntegrationsChanged is a target after a change.
type IntegrationsChanged struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
}

// IntegrationsReplayed is how many deliveries go out again.
type IntegrationsReplayed struct {
	Deliveries int `json:"deliveries"`
}

// IntegrationsProbe is what came of a test.
type IntegrationsProbe struct {
	OK       bool   `json:"ok"`
	Code     string `json:"code"`
	Status   int    `json:"status,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Millis   int64  `json:"millis"`
	Delivery string `json:"delivery,omitempty" doc:"The ping in the log"`
}

// IntegrationsSecret is a new signing secret.
type IntegrationsSecret struct {
	Secret        string     `json:"secret,omitempty"`
	PublicKey     string     `json:"public_key,omitempty"`
	PreviousUntil *time.Time `json:"previous_until,omitempty" doc:"Until then the old secret signs as well"`
}

// IntegrationsDelivery is one event on its way to one target.
type IntegrationsDelivery struct {
	ID          string     `json:"id"`
	Target      string     `json:"target"`
	Tenant      string     `json:"tenant,omitempty"`
	Event       string     `json:"event"`
	Type        string     `json:"type"`
	Version     int64      `json:"tenant_version,omitempty" doc:"At the event"`
	SentVersion int64      `json:"sent_version,omitempty" doc:"Of the state that was told"`
	State       string     `json:"state" enum:"pending,parked,done,merged,dead,cancelled"`
	Attempts    int        `json:"attempts"`
	NextAt      *time.Time `json:"next_at,omitempty"`
	Code        string     `json:"code,omitempty"`
	Detail      string     `json:"detail,omitempty"`
	MergedInto  string     `json:"merged_into,omitempty"`
	Replayed    bool       `json:"replayed"`
	CreatedAt   time.Time  `json:"created_at"`
	DoneAt      *time.Time `json:"done_at,omitempty"`
}

// IntegrationsDeliveryDetail is a delivery with every attempt.
type IntegrationsDeliveryDetail struct {
	Delivery IntegrationsDelivery  `json:"delivery"`
	Log      []IntegrationsAttempt `json:"attempts"`
}

// IntegrationsAttempt is one call.
type IntegrationsAttempt struct {
	ID          string     `json:"id"`
	N           int        `json:"n"`
	Idempotency string     `json:"idempotency_id"`
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty" doc:"Absent while the call is out"`
	Micros      int64      `json:"micros"`
	Status      int        `json:"status,omitempty"`
	Code        string     `json:"code,omitempty"`
	Excerpt     string     `json:"excerpt,omitempty" doc:"Of the answer; secrets and e-mail addresses are taken out"`
}

// IntegrationsConnector is an installed connector.
type IntegrationsConnector struct {
	ID      string                       `json:"id"`
	Name    string                       `json:"name"`
	Version string                       `json:"version"`
	Kind    string                       `json:"kind" enum:"crm,billing,ticketing"`
	Config  []IntegrationsConnectorField `json:"config"`
}

// IntegrationsConnectorField is one setting of a connector.
type IntegrationsConnectorField struct {
	Key      string `json:"key"`
	Title    string `json:"title"`
	Help     string `json:"help,omitempty"`
	Required bool   `json:"required"`
	Secret   bool   `json:"secret"`
}

// IntegrationsStatus is what support may know of a tenant.
type IntegrationsStatus struct {
	Tenant     string                  `json:"tenant"`
	Name       string                  `json:"name"`
	Status     string                  `json:"status" enum:"trial,active,closed"`
	Suspended  bool                    `json:"suspended"`
	Reasons    []IntegrationsReason    `json:"reasons" doc:"Why it is restricted"`
	Plan       string                  `json:"plan"`
	Seats      int64                   `json:"seats"`
	RenewalAt  *time.Time              `json:"renewal_at,omitempty"`
	ActiveAt   *time.Time              `json:"latest_activity,omitempty"`
	OwnerName  string                  `json:"owner_name,omitempty"`
	OpenAlerts int                     `json:"open_alerts"`
	Recent     []IntegrationsHappening `json:"recent_events" doc:"Newest first"`
	Link       string                  `json:"console_url,omitempty"`
}

// IntegrationsReason is one restriction.
type IntegrationsReason struct {
	Reason  string    `json:"reason"`
	Feature string    `json:"feature,omitempty"`
	Since   time.Time `json:"since"`
}

// IntegrationsHappening is that something happened.
type IntegrationsHappening struct {
	Type string    `json:"type"`
	At   time.Time `json:"at"`
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func wireTarget(t integrations.Target, l integrations.Lag) IntegrationsTarget {
	config := t.Config
	if config == nil {
		config = map[string]string{}
	}
	return IntegrationsTarget{
		ID: t.ID.String(), Name: t.Name, Kind: string(t.Kind), Connector: t.Connector, Config: config, Secrets: append([]string{}, t.Secrets...), PublicKey: t.PublicKey,
		Events: append([]string{}, t.Events...), Mode: string(t.Mode), State: string(t.State), Cause: string(t.Cause), Detail: t.Detail, PausedAt: optional(t.PausedAt),
		Failures: t.Failures, FailingSince: optional(t.FailingSince), Version: t.Version, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		Lag: IntegrationsLag{l.Waiting, int64(l.Oldest / time.Second), l.Dead, optional(l.LastAt)},
	}
}

func wireDelivery(d integrations.Delivery) IntegrationsDelivery {
	w := IntegrationsDelivery{ID: d.ID.String(), Target: d.Target.String(), Tenant: string(d.Tenant), Event: d.Event.String(), Type: d.Type, Version: d.Version,
		SentVersion: d.SentVersion, State: string(d.State), Attempts: d.Attempts, Code: string(d.Code), Detail: d.Detail, MergedInto: d.MergedInto,
		Replayed: d.Replayed, CreatedAt: d.CreatedAt, DoneAt: optional(d.DoneAt)}
	if d.State == integrations.Pending || d.State == integrations.Parked {
		w.NextAt = optional(d.NextAt)
	}
	return w
}

func wireConnector(d connector.Descriptor) IntegrationsConnector {
	out := IntegrationsConnector{ID: d.ID, Name: d.Name, Version: d.Version, Kind: string(d.Kind), Config: []IntegrationsConnectorField{}}
	for _, f := range d.Config {
		out.Config = append(out.Config, IntegrationsConnectorField(f))
	}
	return out
}

func wireStatus(s integrations.Status) IntegrationsStatus {
	out := IntegrationsStatus{Tenant: string(s.Tenant), Name: s.Name, Status: string(s.Status), Suspended: s.Suspended, Reasons: []IntegrationsReason{}, Plan: s.Plan,
		Seats: s.Seats, RenewalAt: optional(s.RenewalAt), ActiveAt: optional(s.ActiveAt), OwnerName: s.OwnerName, OpenAlerts: s.OpenAlerts,
		Recent: []IntegrationsHappening{}, Link: s.ConsoleLink}
	for _, r := range s.Reasons {
		out.Reasons = append(out.Reasons, IntegrationsReason(r))
	}
	for _, h := range s.Recent {
		out.Recent = append(out.Recent, IntegrationsHappening(h))
	}
	return out
}
