package siem

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// Mapper makes OCSF events. The zero value is ready to use.
type Mapper struct {
	Version string // of the program; empty: not said
	Origin  string // of the ledger, the name of the log
}

const product = "Reeve"

// Record is the event of a ledger record, one for every record: who opened a session is
// Authorize Session, who changed something Entity Management, and what read, called or
// only asked is API Activity. A record that the kernel did not write is API Activity of
// an unknown actor, with its body.
func (m Mapper) Record(r ledger.Record) Event {
	sum := sha256.Sum256(r.Body)
	print := Fingerprint{3, "SHA-256", hex.EncodeToString(sum[:])}
	v, err := governance.ReadRecord(r.Body)
	foreign := err != nil
	if foreign {
		v = governance.RecordView{ID: r.ID, At: r.At, Action: r.Kind, Outcome: governance.OutcomeObserved, Tenant: governance.TenantID(r.Tenant)}
	}
	e := Event{
		Time: v.At.UnixMilli(), Actor: actor(v), SrcEndpoint: source(v), RawData: string(r.Body), RawDataHash: &print, RawDataSize: int64(len(r.Body)),
		Metadata: m.metadata(v.ID.String(), v.Action, v.At),
		Unmapped: &Unmapped{Integrity: &Integrity{m.Origin, r.N, print}},
	}
	e.Metadata.Sequence, e.Metadata.LogName, e.Metadata.TenantUID = &r.N, m.Origin, string(v.Tenant)
	e.Metadata.CorrelationUID = cmp.Or(v.ActionID, v.Causation, v.Session)
	if foreign {
		e.Unmapped.Body = body(r.Body)
	} else {
		e.Unmapped.Record = rest(v)
	}
	if v.Subject != nil {
		e.Unmapped.Subject = &Represented{UID: v.Subject.ID, Type: string(v.Subject.Kind), Person: string(v.Subject.Person), Roles: v.Subject.Roles}
	}
	d := decided(v.Data)
	for _, p := range d.Decision.Policies {
		a := Authorization{Decision: cmp.Or(p.Effect, "none")}
		if p.Policy != "" {
			a.Policy = &Policy{p.Policy, strconv.Itoa(p.Version)}
		}
		e.Actor.Authorizations = append(e.Actor.Authorizations, a)
	}
	e.outcome(v, d)
	e.Message = shown(sentence(v))
	switch kind, verb := classify(v, foreign); kind {
	case ClassAuthorizeSession:
		e.class(kind, 1, "Assign Privileges")
		e.User, e.Session, e.Privileges = &e.Actor.User, &Session{cmp.Or(v.Session, v.Resource.ID, v.ID.String())}, privileges(v)
	case ClassEntityManagement:
		e.class(kind, verb, entityVerb(verb))
		e.Entity, e.Comment = &Entity{cmp.Or(v.Resource.ID, v.Resource.Kind), v.Resource.Kind}, v.Reason
	default:
		e.class(ClassAPIActivity, verb, apiVerb(verb))
		e.API = &API{Operation: cmp.Or(v.Action, "unknown"), Service: &Svc{product}}
		if v.Request != "" {
			e.API.Request = &Request{v.Request}
		}
		if r := resource(v.Resource); r != nil {
			e.Resources = []Resource{*r}
		}
	}
	return e
}

// Alert is the Detection Finding of an alert as it stands. first tells that it was not
// sent before.
func (m Mapper) Alert(a governance.Alert, first bool) Event {
	state := []string{a.ID.String(), string(a.State), strconv.FormatInt(a.Times, 10), string(a.Severity), a.LastAt.Format(time.RFC3339Nano)}
	sum := sha256.Sum256([]byte(strings.Join(state, "\n")))
	kind, _, _ := strings.Cut(a.Key, ":")
	e := Event{
		Time: a.FirstAt.UnixMilli(), Message: shown(a.Title), Metadata: m.metadata(a.ID.String()+":"+hex.EncodeToString(sum[:8]), kind, a.LastAt),
		FindingInfo: &FindingInfo{UID: a.ID.String(), Title: a.Title, Desc: a.Body, CreatedTime: a.FirstAt.UnixMilli(), FirstSeen: a.FirstAt.UnixMilli(),
			LastSeen: a.LastAt.UnixMilli(), ModifiedTime: a.LastAt.UnixMilli()},
		Unmapped: &Unmapped{Alert: &AlertRest{Key: a.Key, State: string(a.State), Times: a.Times, AckedBy: a.AckedBy}},
	}
	e.Metadata.LogName, e.Metadata.TenantUID, e.Metadata.CorrelationUID = "alerts", string(a.Tenant), a.ID.String()
	if kind != "" {
		e.FindingInfo.Types = []string{kind}
	}
	if a.Tenant != "" {
		e.Resources = append(e.Resources, Resource{string(a.Tenant), "tenant"})
	}
	for _, l := range a.Links {
		e.Unmapped.Alert.Links = append(e.Unmapped.Alert.Links, Link{l.Kind, l.ID, l.URL})
		if r := resource(governance.Ref{Kind: l.Kind, ID: l.ID}); r != nil {
			e.Resources = append(e.Resources, *r)
		}
		if e.FindingInfo.SrcURL == "" && strings.HasPrefix(l.URL, "http") {
			e.FindingInfo.SrcURL = l.URL
		}
	}
	switch a.State {
	case governance.AlertFiring:
		e.StatusID, e.Status = 1, "New"
	case governance.AlertAcked:
		e.StatusID, e.Status = 2, "In Progress"
	case governance.AlertResolved:
		e.StatusID, e.Status = 4, "Resolved"
	default:
		e.StatusID, e.Status = 99, cmp.Or(string(a.State), "unknown")
	}
	switch a.Severity {
	case governance.Critical:
		e.severity(5)
	case governance.Warning:
		e.severity(3)
	default:
		e.severity(1)
	}
	live := a.State != governance.AlertResolved
	e.IsAlert = &live
	switch {
	case !live:
		e.class(ClassDetectionFinding, 3, "Close")
	case first:
		e.class(ClassDetectionFinding, 1, "Create")
	default:
		e.class(ClassDetectionFinding, 2, "Update")
	}
	return e
}

func (m Mapper) metadata(uid, code string, at time.Time) Metadata {
	return Metadata{Version: SchemaVersion, Product: Product{product, product, m.Version}, UID: uid, EventCode: code, OriginalTime: at.UTC().Format(time.RFC3339Nano)}
}

func (e *Event) class(class, activity int, name string) {
	e.ClassUID, e.CategoryUID, e.ActivityID, e.ActivityName = class, class/1000, activity, name
	e.TypeUID = int64(class)*100 + int64(activity)
	e.CategoryName = map[int]string{2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}[e.CategoryUID]
	e.ClassName = map[int]string{ClassAuthorizeSession: "Authorize Session", ClassEntityManagement: "Entity Management", ClassAPIActivity: "API Activity", ClassDetectionFinding: "Detection Finding"}[class]
	e.TypeName = e.ClassName + ": " + name
}

func (e *Event) severity(id int) {
	e.SeverityID = id
	e.Severity = map[int]string{1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}[id]
}

// outcome says how it ended, and how much it matters: a refusal more than a success, an
// outcome that nobody knows the most.
func (e *Event) outcome(v governance.RecordView, d decision) {
	e.StatusCode, e.StatusDetail = string(v.Outcome), shown(d.why())
	switch v.Outcome {
	case governance.OutcomeDone, governance.OutcomeObserved:
		e.StatusID, e.Status = 1, "Success"
		e.severity(1)
	case governance.OutcomeDenied, governance.OutcomeFailed:
		e.StatusID, e.Status = 2, "Failure"
		e.severity(3)
	case governance.OutcomeHeld:
		e.StatusID, e.Status = 99, "Held"
		e.severity(2)
	case governance.OutcomeUnknown:
		e.StatusID, e.Status = 0, "Unknown"
		e.severity(4)
	default:
		e.StatusID, e.Status = 99, cmp.Or(string(v.Outcome), "none")
		e.severity(1)
	}
	if v.Bootstrap && e.SeverityID < 2 { // one person acted alone
		e.severity(2)
	}
}

// actor is who really acts: never whom an impersonation represents.
func actor(v governance.RecordView) *Actor {
	u := User{UID: cmp.Or(v.Actor.ID, "unknown"), UIDAlt: string(v.Actor.Person)}
	switch v.Actor.Kind {
	case governance.ActorUser:
		u.TypeID, u.Type = 1, "User"
	case governance.ActorSystem:
		u.TypeID, u.Type = 3, "System"
	case governance.ActorKey, governance.ActorPlaybook, governance.ActorPlugin:
		u.TypeID, u.Type = 4, "Service"
	case "":
		u.TypeID, u.Type = 0, "Unknown"
	default:
		u.TypeID, u.Type = 99, string(v.Actor.Kind)
	}
	for _, r := range v.Actor.Roles {
		if r != "" {
			u.Groups = append(u.Groups, Group{r, "role"})
		}
	}
	a := &Actor{User: u}
	if v.Session != "" {
		a.Session = &Session{v.Session}
	}
	return a
}

// source is where the call came from, as far as the ledger says it in what cannot be
// erased: the salted digest of the address.
func source(v governance.RecordView) *Endpoint {
	if ip := v.Personal["ip"]; ip != "" {
		return &Endpoint{UID: ip}
	}
	return &Endpoint{SvcName: "reeve"}
}

func resource(r governance.Ref) *Resource {
	if r.ID == "" && r.Kind == "" {
		return nil
	}
	return &Resource{cmp.Or(r.ID, r.Kind), r.Kind}
}

func rest(v governance.RecordView) *RecordRest {
	return &RecordRest{Kind: governance.RecordKind, Outcome: string(v.Outcome), Reason: v.Reason, Ticket: v.Ticket, Resource: v.Resource.String(), Action: v.ActionID,
		ActionDigest: string(v.Digest), Causation: v.Causation, Depth: v.Depth, Bootstrap: v.Bootstrap, Personal: v.Personal, Data: v.Data}
}

func body(b []byte) json.RawMessage {
	if json.Valid(b) {
		return b
	}
	return nil // raw_data has it
}

// decision is what is read of a record's data; whatever else stands there is kept as it is.
type decision struct {
	Rule, Reason string
	Decision     struct {
		Policies []struct {
			Policy  string `json:"policy"`
			Version int    `json:"version"`
			Effect  string `json:"effect"`
			Why     string `json:"why"`
		} `json:"policies"`
	}
}

func decided(data json.RawMessage) decision {
	var fields map[string]json.RawMessage
	var d decision
	if json.Unmarshal(data, &fields) != nil {
		return d
	}
	// Each by itself: a host's data may use the same words for other things.
	if json.Unmarshal(fields["decision"], &d.Decision) != nil {
		d.Decision.Policies = nil
	}
	if json.Unmarshal(fields["rule"], &d.Rule) != nil {
		d.Rule = ""
	}
	if json.Unmarshal(fields["why"], &d.Reason) != nil {
		var lines []string
		if json.Unmarshal(fields["why"], &lines) == nil {
			d.Reason = strings.Join(lines, "; ")
		}
	}
	return d
}

func (d decision) why() string {
	if d.Rule != "" && d.Reason != "" {
		return d.Rule + ": " + d.Reason
	}
	return cmp.Or(d.Reason, d.Rule)
}

func sentence(v governance.RecordView) string {
	s := cmp.Or(v.Actor.ID, "unknown") + " " + cmp.Or(v.Action, "unknown")
	if on := v.Resource.String(); strings.Trim(on, ":/") != "" {
		s += " on " + on
	}
	if v.Subject != nil {
		s += " while representing " + v.Subject.ID
	}
	return s + ": " + cmp.Or(string(v.Outcome), "none")
}

// privileges are what an opened session gives its actor.
func privileges(v governance.RecordView) []string {
	var d struct {
		Scope string `json:"scope"`
	}
	if json.Unmarshal(v.Data, &d) != nil {
		d.Scope = ""
	}
	out := []string{"impersonation:" + cmp.Or(d.Scope, "unknown")}
	if v.Subject != nil {
		for _, r := range v.Subject.Roles {
			if r != "" {
				out = append(out, "as-role:"+r)
			}
		}
	}
	return out
}
