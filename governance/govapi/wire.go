package govapi

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// The wire types repeat the kernel's structs under names of their own, because huma
// names schemas by type name and a host has its own Policy and Actor.

// GovActor is who acts or is represented.
type GovActor struct {
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`
	Person string   `json:"person,omitempty"`
	Name   string   `json:"name,omitempty"`
	Roles  []string `json:"roles"`
}

// GovMeasure is how much of something an action is about.
type GovMeasure struct {
	Unit  string `json:"unit" example:"EUR.cent"`
	Value string `json:"value" example:"12500"`
}

// GovLimitHit is one window at the time of the decision.
type GovLimitHit struct {
	Unit    string   `json:"unit"`
	Sum     string   `json:"sum" doc:"Posted and pending before the action"`
	Amount  string   `json:"amount"`
	Max     string   `json:"max"`
	Window  string   `json:"window" example:"24h0m0s"`
	Exceeds bool     `json:"exceeds"`
	Rate    *GovRate `json:"rate,omitempty" doc:"The rate used, stored with the decision"`
}

// GovRate is a conversion rate.
type GovRate struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Rate   string `json:"rate" example:"0.921450"`
	Date   string `json:"date"`
	Source string `json:"source"`
}

// GovPolicyHit is one policy's part in a decision.
type GovPolicyHit struct {
	Policy  string        `json:"policy"`
	Version int           `json:"version"`
	Mode    string        `json:"mode"`
	Effect  string        `json:"effect"`
	Why     string        `json:"why,omitempty"`
	Limits  []GovLimitHit `json:"limits"`
}

// GovDecision is the whole answer of the policies.
type GovDecision struct {
	Effect     string         `json:"effect"`
	PolicyHash string         `json:"policy_hash"`
	Policies   []GovPolicyHit `json:"policies"`
}

// GovQuorum is a number of distinct people of one group.
type GovQuorum struct {
	Group     string   `json:"group" minLength:"1" maxLength:"128"`
	Approvals int      `json:"approvals" minimum:"1" maximum:"10"`
	Where     string   `json:"where,omitempty" maxLength:"4000" doc:"CEL over actor (the voter), action and tenant: who of the group counts"`
	Or        []string `json:"or,omitempty" doc:"Groups that may fill the places as well, since it was escalated"`
}

// GovVote is a cast vote.
type GovVote struct {
	Person   string    `json:"person"`
	Actor    GovActor  `json:"actor"`
	Decision string    `json:"decision" enum:"approve,deny"`
	Comment  string    `json:"comment"`
	Groups   []string  `json:"groups" doc:"At the time of the vote"`
	At       time.Time `json:"at"`
	SignedBy string    `json:"signed_by,omitempty" doc:"Key that signed it; absent: it is not signed"`
}

// GovApproval is a held action with its votes.
type GovApproval struct {
	ID              string          `json:"id"`
	Action          string          `json:"action"`
	Tenant          string          `json:"tenant,omitempty"`
	Resource        string          `json:"resource"`
	ResourceVersion string          `json:"resource_version"`
	State           string          `json:"state" enum:"pending,approved,executing,executed,unknown,failed,denied,expired,cancelled,lapsed,superseded"`
	Digest          string          `json:"digest" doc:"What a vote must repeat"`
	Input           json.RawMessage `json:"input"`
	Preview         json.RawMessage `json:"preview"`
	Measures        []GovMeasure    `json:"measures"`
	Decision        GovDecision     `json:"decision"`
	Requester       GovActor        `json:"requester"`
	Subject         *GovActor       `json:"subject,omitempty"`
	SessionID       string          `json:"session_id,omitempty"`
	Reason          string          `json:"reason,omitempty"`
	Ticket          string          `json:"ticket,omitempty"`
	Votes           []GovVote       `json:"votes"`
	Missing         []GovQuorum     `json:"missing" doc:"What the votes so far leave open"`
	Result          json.RawMessage `json:"result"`
	Error           string          `json:"error,omitempty"`
	Attempts        int             `json:"attempts"`
	CreatedAt       time.Time       `json:"created_at"`
	DecideBy        time.Time       `json:"decide_by"`
	DecidedAt       *time.Time      `json:"decided_at,omitempty"`
	ExecuteBy       *time.Time      `json:"execute_by,omitempty"`
	ExecutedAt      *time.Time      `json:"executed_at,omitempty"`
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func wireActor(a governance.Actor) GovActor {
	return GovActor{a.ID, string(a.Kind), string(a.Person), a.Name, append([]string{}, a.Roles...)}
}

func wireDecision(d governance.Decision) GovDecision {
	out := GovDecision{Effect: string(d.Effect), PolicyHash: string(d.Hash), Policies: []GovPolicyHit{}}
	for _, p := range d.Policies {
		h := GovPolicyHit{Policy: p.Policy, Version: p.Version, Mode: string(p.Mode), Effect: string(p.Effect), Why: p.Why, Limits: []GovLimitHit{}}
		for _, l := range p.Limits {
			lh := GovLimitHit{Unit: l.Unit, Sum: itoa(l.Sum), Amount: itoa(l.Amount), Max: itoa(l.Max), Window: l.Window.String(), Exceeds: l.Exceeds}
			if l.Rate != nil {
				lh.Rate = &GovRate{l.Rate.From, l.Rate.To, micro(l.Rate.Micro), l.Rate.Date, l.Rate.Source}
			}
			h.Limits = append(h.Limits, lh)
		}
		out.Policies = append(out.Policies, h)
	}
	return out
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// micro writes millionths as a decimal.
func micro(n int64) string {
	s := strconv.FormatInt(n, 10)
	for len(s) < 7 {
		s = "0" + s
	}
	return s[:len(s)-6] + "." + s[len(s)-6:]
}

func wireQuorums(qs []governance.Quorum) []GovQuorum {
	out := []GovQuorum{}
	for _, q := range qs {
		w := GovQuorum{Group: string(q.Group), Approvals: q.Approvals, Where: q.Where}
		for _, g := range q.Or {
			w.Or = append(w.Or, string(g))
		}
		out = append(out, w)
	}
	return out
}

func wireApproval(a governance.Approval) GovApproval {
	out := GovApproval{
		ID: a.ID.String(), Action: a.Action, Tenant: string(a.Tenant), Resource: a.Resource, ResourceVersion: itoa(a.ResourceVersion), State: string(a.State),
		Digest: string(a.Digest), Input: a.Input, Preview: a.Preview, Measures: []GovMeasure{}, Decision: wireDecision(a.Decision),
		Requester: wireActor(a.Requester), SessionID: a.SessionID, Reason: a.Reason, Ticket: a.Ticket, Votes: []GovVote{}, Missing: wireQuorums(a.Missing),
		Result: a.Result, Error: a.Error, Attempts: a.Attempts, CreatedAt: a.CreatedAt, DecideBy: a.DecideBy,
		DecidedAt: optional(a.DecidedAt), ExecuteBy: optional(a.ExecuteBy), ExecutedAt: optional(a.ExecutedAt),
	}
	if a.Subject != nil {
		s := wireActor(*a.Subject)
		out.Subject = &s
	}
	for _, m := range a.Measures {
		out.Measures = append(out.Measures, GovMeasure{m.Unit, itoa(m.Value)})
	}
	for _, v := range a.Votes {
		groups := []string{}
		for _, g := range v.Groups {
			if !g.Marked() {
				groups = append(groups, string(g))
			}
		}
		signedBy := ""
		if v.Signature != nil {
			signedBy = v.Signature.Key
		}
		out.Votes = append(out.Votes, GovVote{string(v.Person), wireActor(v.Actor), string(v.Decision), v.Comment, groups, v.At, signedBy})
	}
	return out
}

// GovTenant is our projection of a tenant.
type GovTenant struct {
	ID           string              `json:"id"`
	Name         string              `json:"name"`
	Country      string              `json:"country"`
	Region       string              `json:"region,omitempty"`
	Owner        string              `json:"owner,omitempty"`
	Status       string              `json:"status" enum:"trial,active,closed"`
	Plan         string              `json:"plan"`
	Seats        int64               `json:"seats"`
	RenewalAt    *time.Time          `json:"renewal_at,omitempty"`
	ActiveAt     *time.Time          `json:"active_at,omitempty"`
	ExternalKeys map[string][]string `json:"external_keys,omitempty"`
	Attributes   map[string]string   `json:"attributes,omitempty"`
	Version      int64               `json:"version"`
	CreatedAt    time.Time           `json:"created_at"`
	UpdatedAt    time.Time           `json:"updated_at"`
}

func wireTenant(t governance.Tenant) GovTenant {
	return GovTenant{string(t.ID), t.Name, t.Country, t.Region, string(t.Owner), string(t.Status), t.Plan, t.Seats, optional(t.RenewalAt), optional(t.ActiveAt),
		t.ExternalKeys, t.Attributes, t.Version, t.CreatedAt, t.UpdatedAt}
}

// GovEntitlement is what a tenant may use.
type GovEntitlement struct {
	Feature   string     `json:"feature"`
	Quantity  int64      `json:"quantity" doc:"0 is unlimited"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Source    string     `json:"source"`
	Version   int64      `json:"version"`
}

// GovRestriction is one reason why a tenant may not use something.
type GovRestriction struct {
	Reason   string    `json:"reason"`
	Feature  string    `json:"feature,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	PlacedBy string    `json:"placed_by"`
	PlacedAt time.Time `json:"placed_at"`
	Version  int64     `json:"version"`
}

// GovTenantState is a tenant with all that stands on it.
type GovTenantState struct {
	Tenant       GovTenant        `json:"tenant"`
	Suspended    bool             `json:"suspended"`
	Entitlements []GovEntitlement `json:"entitlements"`
	Restrictions []GovRestriction `json:"restrictions"`
}

func wireState(s governance.TenantState) GovTenantState {
	out := GovTenantState{Tenant: wireTenant(s.Tenant), Suspended: s.Suspended, Entitlements: []GovEntitlement{}, Restrictions: []GovRestriction{}}
	for _, e := range s.Entitlements {
		out.Entitlements = append(out.Entitlements, GovEntitlement{e.Feature, e.Quantity, optional(e.ExpiresAt), e.Source, e.Version})
	}
	for _, r := range s.Restrictions {
		out.Restrictions = append(out.Restrictions, GovRestriction{r.Reason, r.Feature, r.Detail, r.PlacedBy, r.PlacedAt, r.Version})
	}
	return out
}

// GovAccess answers whether a tenant may use something now, and why.
type GovAccess struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason" example:"restricted:payment_overdue"`
	Version int64  `json:"version"`
}

// GovLink names a place to look.
type GovLink struct {
	Title string `json:"title"`
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	URL   string `json:"url,omitempty"`
}

// GovRecord is one ledger record.
type GovRecord struct {
	ID          string            `json:"id"`
	N           *int64            `json:"n,omitempty" doc:"Its leaf; absent while it waits to be sealed"`
	Tenant      string            `json:"tenant,omitempty"`
	Kind        string            `json:"kind"`
	At          time.Time         `json:"at"`
	Body        json.RawMessage   `json:"body" doc:"The leaf, in canonical JSON"`
	Disclosures map[string]string `json:"disclosures,omitempty" doc:"Personal values still kept beside the record"`
}

func wireRecord(r ledger.Record) GovRecord {
	out := GovRecord{ID: r.ID.String(), Tenant: r.Tenant, Kind: r.Kind, At: r.At, Body: r.Body}
	if r.N >= 0 {
		out.N = &r.N
	}
	for _, d := range r.Disclosures {
		if out.Disclosures == nil {
			out.Disclosures = map[string]string{}
		}
		out.Disclosures[d.Field] = d.Value
	}
	return out
}

// GovEvent is a numbered event.
type GovEvent struct {
	ID            string          `json:"id"`
	N             int64           `json:"n"`
	Type          string          `json:"type"`
	Tenant        string          `json:"tenant,omitempty"`
	TenantVersion int64           `json:"tenant_version,omitempty"`
	TenantSeq     int64           `json:"tenant_seq,omitempty"`
	Resource      string          `json:"resource,omitempty"`
	Actor         string          `json:"actor"`
	Data          json.RawMessage `json:"data"`
	At            time.Time       `json:"at"`
}

func wireEvent(e governance.Event) GovEvent {
	return GovEvent{e.ID.String(), e.N, e.Type, e.Tenant, e.TenantVersion, e.TenantSeq, e.Resource, e.Actor, e.Data, e.At}
}

func parseUUID(field, s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return u, governance.Invalid(field, "is not a UUID")
	}
	return u, nil
}
