package oversightapi

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

// OversightSession is one impersonation: actor works as subject, a user of tenant.
type OversightSession struct {
	ID        string           `json:"id"`
	Tenant    string           `json:"tenant"`
	User      string           `json:"user"`
	Actor     govapi.GovActor  `json:"actor"`
	Subject   *govapi.GovActor `json:"subject,omitempty" doc:"Absent until opened"`
	Scope     string           `json:"scope" enum:"read,write"`
	Reason    string           `json:"reason"`
	Ticket    string           `json:"ticket,omitempty"`
	State     string           `json:"state" enum:"pending_approval,ready,active,paused,ended"`
	Observer  bool             `json:"observer" doc:"Somebody has to watch"`
	PausedBy  string           `json:"paused_by,omitempty" enum:"recorder,observer"`
	PausedWhy string           `json:"paused_why,omitempty"`
	PausedAt  *time.Time       `json:"paused_at,omitempty"`
	GraceAt   *time.Time       `json:"grace_at,omitempty" doc:"When a paused session ends"`
	Ended     string           `json:"ended,omitempty" enum:"stopped,killed,expired,idle,unopened,actor_revoked,actor_changed,subject_gone,recorder_lost,observer_lost,refused"`
	EndedBy   string           `json:"ended_by,omitempty"`
	Requests  int64            `json:"requests" doc:"Let through"`
	Blocked   int64            `json:"blocked" doc:"Refused by scope or deny list"`
	CreatedAt time.Time        `json:"created_at"`
	OpenBy    *time.Time       `json:"open_by,omitempty" doc:"Absent while it waits for approval"`
	OpenedAt  *time.Time       `json:"opened_at,omitempty"`
	ExpiresAt *time.Time       `json:"expires_at,omitempty"`
	SeenAt    *time.Time       `json:"seen_at,omitempty"`
	EndedAt   *time.Time       `json:"ended_at,omitempty"`
	Review    *OversightReview `json:"review,omitempty" doc:"Absent until the session is over, and of one that was never opened"`
}

// OversightReview is the second look at a session that is over.
type OversightReview struct {
	State   string     `json:"state" enum:"due,overdue,reviewed"`
	Due     time.Time  `json:"due"`
	By      string     `json:"by,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	Verdict string     `json:"verdict,omitempty" enum:"accepted,violation"`
	Note    string     `json:"note,omitempty"`
}

// OversightObserver is somebody who watches a session, or did.
type OversightObserver struct {
	Actor   govapi.GovActor `json:"actor"`
	Since   time.Time       `json:"since"`
	SeenAt  time.Time       `json:"seen_at"`
	Present bool            `json:"present"`
}

// OversightAccess is one impersonation as the customer may read it.
type OversightAccess struct {
	Session  string     `json:"session"`
	Staff    string     `json:"staff"`
	User     string     `json:"user"`
	Name     string     `json:"name,omitempty"`
	Scope    string     `json:"scope" enum:"read,write"`
	Reason   string     `json:"reason"`
	Ticket   string     `json:"ticket,omitempty"`
	From     time.Time  `json:"from"`
	Until    *time.Time `json:"until,omitempty" doc:"Absent while it goes on"`
	Live     bool       `json:"live"`
	Ended    string     `json:"ended,omitempty"`
	Requests int64      `json:"requests"`
	Blocked  int64      `json:"blocked"`
	Watched  bool       `json:"watched" doc:"Somebody had to watch"`
	Reviewed string     `json:"reviewed,omitempty" enum:"accepted,violation"`
}

func wireAccess(a oversight.Access) OversightAccess {
	return OversightAccess{a.Session.String(), a.Staff, a.User, a.Name, string(a.Scope), a.Reason, a.Ticket, a.From, optional(a.Until), a.Live, string(a.Ended), a.Requests, a.Blocked, a.Watched, string(a.Reviewed)}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func wireActor(a governance.Actor) govapi.GovActor {
	return govapi.GovActor{ID: a.ID, Kind: string(a.Kind), Person: string(a.Person), Name: a.Name, Roles: append([]string{}, a.Roles...)}
}

func wireSession(s oversight.Session) OversightSession {
	out := OversightSession{ID: s.ID.String(), Tenant: string(s.Tenant), User: s.User, Actor: wireActor(s.Actor), Scope: string(s.Scope), Reason: s.Reason, Ticket: s.Ticket,
		State: string(s.State), Observer: s.Observer, PausedBy: string(s.PausedBy), PausedWhy: s.PausedWhy, PausedAt: optional(s.PausedAt), GraceAt: optional(s.GraceAt), Ended: string(s.Ended), EndedBy: s.EndedBy, Requests: s.Requests, Blocked: s.Blocked,
		CreatedAt: s.CreatedAt, OpenBy: optional(s.OpenBy), OpenedAt: optional(s.OpenedAt), ExpiresAt: optional(s.ExpiresAt), SeenAt: optional(s.SeenAt), EndedAt: optional(s.EndedAt)}
	if s.Subject.ID != "" {
		a := wireActor(s.Subject)
		out.Subject = &a
	}
	if r := s.Review; r.State != "" {
		out.Review = &OversightReview{string(r.State), r.Due, r.By, optional(r.At), string(r.Verdict), r.Note}
	}
	return out
}

// OversightAct is a guarded action: who, what, why, how much, and what the policies
// said.
type OversightAct struct {
	ID        string              `json:"id"`
	Action    string              `json:"action"`
	Tenant    string              `json:"tenant,omitempty"`
	Resource  string              `json:"resource"`
	Actor     govapi.GovActor     `json:"actor"`
	Subject   *govapi.GovActor    `json:"subject,omitempty"`
	SessionID string              `json:"session_id,omitempty"`
	Reason    string              `json:"reason,omitempty"`
	Ticket    string              `json:"ticket,omitempty"`
	Measures  []govapi.GovMeasure `json:"measures"`
	Effect    string              `json:"effect" enum:"allow,hold,deny"`
	Over      bool                `json:"over" doc:"It passed a limit"`
	Meters    []OversightMeter    `json:"meters"`
	State     string              `json:"state" enum:"pending,approved,executing,executed,unknown,failed,denied,expired,cancelled,lapsed,superseded"`
	At        time.Time           `json:"at"`
}

// OversightMeter is one limit at the time of the decision.
type OversightMeter struct {
	Policy  string `json:"policy"`
	Unit    string `json:"unit"`
	Before  string `json:"before" doc:"Posted and pending in the window"`
	Amount  string `json:"amount"`
	Max     string `json:"max"`
	Window  string `json:"window"`
	Exceeds bool   `json:"exceeds"`
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func wireAct(a oversight.Act) OversightAct {
	out := OversightAct{ID: a.ID.String(), Action: a.Action, Tenant: string(a.Tenant), Resource: a.Resource, Actor: wireActor(a.Actor), SessionID: a.SessionID, Reason: a.Reason,
		Ticket: a.Ticket, Measures: []govapi.GovMeasure{}, Effect: string(a.Effect), Over: a.Over, Meters: []OversightMeter{}, State: string(a.State), At: a.At}
	if a.Subject != nil {
		s := wireActor(*a.Subject)
		out.Subject = &s
	}
	for _, m := range a.Measures {
		out.Measures = append(out.Measures, govapi.GovMeasure{Unit: m.Unit, Value: itoa(m.Value)})
	}
	for _, m := range a.Meters {
		out.Meters = append(out.Meters, OversightMeter{m.Policy, m.Unit, itoa(m.Before), itoa(m.Amount), itoa(m.Max), m.Window.String(), m.Exceeds})
	}
	return out
}

// OversightFrameInfo is a frame in the list of a session's recording.
type OversightFrameInfo recorder.FrameInfo

// OversightFrame is one request and what the actor was shown for it, masked.
type OversightFrame recorder.Frame

// OversightRecording is what comparing a recording with the ledger found.
type OversightRecording struct {
	Chunks   []OversightChunk `json:"chunks"`
	Frames   int64            `json:"frames"`
	Requests int64            `json:"requests" doc:"Let through, by the session's own count"`
	Problems []string         `json:"problems" doc:"Empty: whole, and as it was recorded"`
	Gaps     []OversightGap   `json:"gaps" doc:"Where the problems are"`
}

// OversightGap is a stretch of a recording that cannot be replayed.
type OversightGap struct {
	Kind   string     `json:"kind" enum:"missing,altered,moved,foreign,truncated,unrecorded"`
	Chunk  int64      `json:"chunk,omitempty"`
	After  int        `json:"after" doc:"Number of the frame before it, 0 at the beginning"`
	Frames int64      `json:"frames" doc:"How many are lost, as far as it is known"`
	From   *time.Time `json:"from,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Text   string     `json:"text"`
}

// OversightChunk is one stored part of a recording.
type OversightChunk struct {
	Seq     int64     `json:"seq"`
	SHA256  string    `json:"sha256"`
	Prev    string    `json:"prev,omitempty"`
	Bytes   int64     `json:"bytes"`
	Frames  int64     `json:"frames"`
	Record  string    `json:"record" doc:"The ledger record that anchors it"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

func wireRecording(r recorder.Report) OversightRecording {
	out := OversightRecording{[]OversightChunk{}, r.Frames, r.Requests, r.Problems, []OversightGap{}}
	for _, g := range r.Gaps {
		out.Gaps = append(out.Gaps, OversightGap{string(g.Kind), g.Chunk, g.After, g.Frames, optional(g.From), optional(g.Until), g.Text})
	}
	for _, c := range r.Chunks {
		out.Chunks = append(out.Chunks, OversightChunk{c.Seq, c.SHA256, c.Prev, c.Bytes, c.Frames, c.Record.String(), c.FirstAt, c.LastAt})
	}
	return out
}

// OversightEvidence is what somebody outside needs to check a session.
type OversightEvidence struct {
	Kind        string                    `json:"kind" example:"reeve/evidence/session/v1"`
	Session     OversightSession          `json:"session"`
	Records     []OversightEvidenceRecord `json:"records"`
	Recording   OversightRecording        `json:"recording"`
	VerifierKey string                    `json:"verifier_key" doc:"What the proofs are checked with"`
	MadeAt      time.Time                 `json:"made_at"`
}

// OversightEvidenceRecord is a ledger record with its proof.
type OversightEvidenceRecord struct {
	ID    string           `json:"id"`
	At    time.Time        `json:"at"`
	Body  json.RawMessage  `json:"body"`
	Proof *govapi.GovProof `json:"proof,omitempty" doc:"Absent while it waits to be sealed"`
}

type oversightEvidenceOutput struct {
	Disposition string `header:"Content-Disposition"`
	Body        OversightEvidence
}

func wireEvidence(e recorder.Evidence) OversightEvidence {
	out := OversightEvidence{e.Kind, wireSession(e.Session), []OversightEvidenceRecord{}, wireRecording(e.Recording), e.VerifierKey, e.MadeAt}
	for _, r := range e.Records {
		er := OversightEvidenceRecord{ID: r.ID.String(), At: r.At, Body: r.Body}
		if r.Proof != nil {
			er.Proof = &govapi.GovProof{Body: r.Proof.Body, N: r.Proof.N, Path: r.Proof.Path, Checkpoint: r.Proof.Checkpoint}
		}
		out.Records = append(out.Records, er)
	}
	return out
}
