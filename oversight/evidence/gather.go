package evidence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// gathering collects what a pack about one subject holds.
type gathering struct {
	s       *Service
	id      governance.Identity
	req     Request
	tenant  governance.TenantID
	session *oversight.Session
	root    governance.Approval

	c       pack.Contents
	records map[uuid.UUID]governance.RecordView
	bodies  map[uuid.UUID]ledger.Record
	actions map[uuid.UUID]governance.Approval
}

// collect finds the subject and gathers what is about it, again while it changes
// under the reader.
func (s *Service) collect(ctx context.Context, id governance.Identity, req Request) (*gathering, error) {
	for range collectTries {
		g, err := s.subject(ctx, id, req)
		if err != nil {
			return nil, err
		}
		if err := g.gather(ctx); err != nil {
			return nil, err
		}
		again, err := s.subject(ctx, id, req)
		if err != nil {
			return nil, err
		}
		if g.same(again) {
			return g, nil
		}
	}
	return nil, fmt.Errorf("%s %s changes while it is read, try again: %w", req.Kind, req.Subject, governance.ErrConflict)
}

func (g *gathering) same(again *gathering) bool {
	a, b := g.root, again.root
	if a.State != b.State || a.Attempts != b.Attempts || len(a.Votes) != len(b.Votes) {
		return false
	}
	if g.session == nil {
		return true
	}
	x, y := g.session, again.session
	return x.State == y.State && x.Requests == y.Requests && x.Blocked == y.Blocked
}

// subject finds what the pack is about and asks whether the caller may build it.
func (s *Service) subject(ctx context.Context, id governance.Identity, req Request) (*gathering, error) {
	g := &gathering{s: s, id: id, req: req, records: map[uuid.UUID]governance.RecordView{}, bodies: map[uuid.UUID]ledger.Record{}, actions: map[uuid.UUID]governance.Approval{}}
	permissions := []string{PermissionBuild, "ledger:read", "approval:read"}
	switch req.Kind {
	case pack.KindSession:
		if s.svc == nil {
			return nil, governance.Invalid("kind", "there are no sessions here")
		}
		permissions = append(permissions, oversight.PermissionRead)
		session, err := s.svc.Session(ctx, req.Subject)
		if err != nil {
			return nil, err
		}
		g.session, g.tenant = &session, session.Tenant
	case pack.KindAction:
	default:
		return nil, governance.Invalid("kind", "%q is neither session nor action", req.Kind)
	}
	var err error
	if g.root, err = s.k.Action(ctx, req.Subject); err != nil {
		return nil, err
	}
	g.tenant = g.root.Tenant
	target, err := s.target(ctx, g.tenant)
	if err != nil {
		return nil, err
	}
	if req.Disclose {
		permissions = append(permissions, PermissionDisclose)
	}
	for _, p := range permissions {
		if err := s.k.Authorize(ctx, id, p, target); err != nil {
			return nil, err
		}
	}
	m := &g.c.Manifest
	m.Subject = pack.Subject{Kind: req.Kind, ID: req.Subject.String(), Tenant: string(g.tenant), Name: g.root.Action}
	m.MadeBy, m.Reason, m.Software, m.Key, m.Disclose = id.Actor.ID, req.Reason, s.opts.Software, s.k.Ledger().VerifierKey(), req.Disclose
	if err := s.k.Authorize(ctx, id, "alert:read", target); err != nil {
		m.Withheld = append(m.Withheld, "alerts: the builder may not read them")
	}
	return g, nil
}

// gather reads everything about the subject.
func (g *gathering) gather(ctx context.Context) error {
	if err := g.search(ctx, g.req.Subject.String(), false); err != nil {
		return err
	}
	if g.session != nil { // guarded actions of the session bring their votes along
		for _, id := range slices.SortedFunc(maps.Keys(g.records), compareIDs) {
			v := g.records[id]
			if other, err := uuid.Parse(v.ActionID); err == nil && v.Digest != "" && other != g.req.Subject {
				if err := g.search(ctx, v.ActionID, false); err != nil {
					return err
				}
			}
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(g.records), compareIDs) {
		v := g.records[id]
		other, err := uuid.Parse(v.ActionID)
		if err != nil || v.Digest == "" || g.actions[other].ID != uuid.Nil {
			continue
		}
		a, err := g.s.k.Action(ctx, other)
		if errors.Is(err, governance.ErrNotFound) { // it failed, and its row was rolled back with it
			continue
		}
		if err != nil {
			return err
		}
		g.actions[other] = a
	}
	if g.actions[g.req.Subject].ID == uuid.Nil { // a remote call is under way: the record comes with its answer
		return fmt.Errorf("action %s has no record yet, try again: %w", g.req.Subject, governance.ErrConflict)
	}
	if len(g.c.Manifest.Withheld) == 0 {
		if err := g.alerts(ctx); err != nil {
			return err
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(g.actions), compareIDs) {
		if err := g.action(ctx, g.actions[id]); err != nil {
			return err
		}
	}
	if err := g.policies(ctx); err != nil {
		return err
	}
	if err := errors.Join(g.recording(ctx), g.browser(ctx)); err != nil {
		return err
	}
	for _, id := range slices.SortedFunc(maps.Keys(g.bodies), compareIDs) {
		g.c.Records = append(g.c.Records, pack.Record{ID: id.String(), Body: g.bodies[id].Body})
	}
	return g.personal(ctx)
}

func compareIDs(a, b uuid.UUID) int { return cmp.Compare(a.String(), b.String()) }

// search adds the records that are about an id: not those that only mention it.
func (g *gathering) search(ctx context.Context, about string, everywhere bool) error {
	f := ledger.Filter{Tenant: string(g.tenant), AllTenants: everywhere || g.tenant == "", Search: about, Limit: 200}
	if f.AllTenants {
		f.Tenant = ""
	}
	for {
		page, err := g.s.k.Ledger().Records(ctx, f)
		if err != nil {
			return err
		}
		for _, r := range page {
			v, err := governance.ReadRecord(r.Body)
			if err != nil || v.ActionID != about && v.Session != about && v.Resource.ID != about || v.Tenant != "" && v.Tenant != g.tenant {
				continue
			}
			g.records[r.ID], g.bodies[r.ID] = v, r
		}
		if len(page) < int(f.Limit) {
			return nil
		}
		f.Before = page[len(page)-1].ID
	}
}

func (g *gathering) alerts(ctx context.Context) error {
	ids := map[uuid.UUID]bool{g.req.Subject: true}
	for id := range g.actions {
		ids[id] = true
	}
	for _, id := range slices.SortedFunc(maps.Keys(ids), compareIDs) {
		as, err := g.s.k.AlertsAbout(ctx, id)
		if err != nil {
			return err
		}
		for _, a := range as {
			out := pack.Alert{ID: a.ID.String(), Key: a.Key, Severity: string(a.Severity), Title: a.Title, Body: a.Body, State: string(a.State), Times: a.Times,
				FirstAt: a.FirstAt, LastAt: a.LastAt, AckedBy: a.AckedBy, AckedAt: a.AckedAt, Deliveries: []pack.Delivery{}}
			for _, d := range a.Told {
				out.Deliveries = append(out.Deliveries, pack.Delivery{Notifier: d.Notifier, State: string(d.State), Attempts: d.Attempts})
			}
			g.c.Alerts = append(g.c.Alerts, out)
			if a.AckedBy != "" {
				if err := g.search(ctx, out.ID, true); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// action adds one action with the votes on it.
func (g *gathering) action(ctx context.Context, a governance.Approval) error {
	payload, err := document(a)
	if err != nil {
		return err
	}
	out := pack.Action{ID: a.ID.String(), Name: a.Action, Digest: string(a.Digest), State: string(a.State), Held: len(a.Decision.Require) > 0 && !a.DecideBy.IsZero(),
		Remote: a.Remote, Requester: a.Requester.ID, Person: string(a.Requester.Person), Reason: a.Reason, Ticket: a.Ticket, Preview: a.Preview, Result: a.Result,
		Error: a.Error, CreatedAt: a.CreatedAt, DecideBy: a.DecideBy, ExecuteBy: a.ExecuteBy, DecidedAt: a.DecidedAt, ExecutedAt: a.ExecutedAt, Payload: payload}
	for _, v := range a.Votes {
		vote := pack.Vote{Person: string(v.Person), Actor: v.Actor.ID, Decision: string(v.Decision), Digest: string(v.Digest), Comment: v.Comment, Groups: []string{}, At: v.At}
		for _, group := range v.Groups {
			vote.Groups = append(vote.Groups, string(group))
		}
		for id, r := range g.records {
			if r.Action == "approval.vote" && r.Outcome == governance.OutcomeDone && r.ActionID == out.ID && r.Actor.Person == v.Person {
				vote.Record = id.String()
			}
		}
		out.Votes = append(out.Votes, vote)
		if err := g.membership(ctx, vote); err != nil {
			return err
		}
		if v.Signature == nil {
			continue
		}
		if err := g.signature(ctx, &out, vote.Record, *v.Signature); err != nil {
			return err
		}
	}
	g.c.Actions = append(g.c.Actions, out)
	return nil
}

// document is what an action's digest is of.
func document(a governance.Approval) ([]byte, error) {
	for _, measures := range [][]governance.Measure{a.Measures, nil} { // no measures are kept as an empty list, and were decided on as none
		if len(a.Measures) > 0 && measures == nil {
			break
		}
		doc := map[string]any{"action": a.Action, "tenant": a.Tenant, "resource": a.Resource, "resource_version": fmt.Sprint(a.ResourceVersion), "measures": measures, "input": a.Input}
		got, err := governance.DigestOf("reeve/action/v1", doc)
		if err != nil {
			return nil, fmt.Errorf("payload of %s: %w", a.ID, err)
		}
		if got == a.Digest {
			return governance.Canonical(doc)
		}
	}
	return nil, &notHolding{fmt.Sprintf("action %s: its stored payload does not have its digest", a.ID)}
}

// policies adds the versions that the records say decided.
func (g *gathering) policies(ctx context.Context) error {
	type key struct {
		id      string
		version int
	}
	done := map[key]bool{}
	for _, id := range slices.SortedFunc(maps.Keys(g.records), compareIDs) {
		v := g.records[id]
		if other, err := uuid.Parse(v.ActionID); err != nil || g.actions[other].ID == uuid.Nil {
			continue
		}
		var data struct {
			Decision governance.Decision `json:"decision"`
		}
		if err := json.Unmarshal(v.Data, &data); err != nil {
			continue // another kind of data
		}
		for _, h := range data.Decision.Policies {
			k := key{h.Policy, h.Version}
			if done[k] || h.Raised() {
				continue
			}
			done[k] = true
			versions, err := g.s.k.PolicyHistory(ctx, h.Policy)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(versions, func(p governance.PolicyVersion) bool { return p.Version == h.Version })
			if at < 0 {
				return fmt.Errorf("policy %s version %d: %w", h.Policy, h.Version, governance.ErrNotFound)
			}
			body, err := governance.Canonical(versions[at].Policy)
			if err != nil {
				return fmt.Errorf("policy %s version %d: %w", h.Policy, h.Version, err)
			}
			g.c.Policies = append(g.c.Policies, pack.Policy{ID: h.Policy, Version: h.Version, Body: body})
		}
	}
	return nil
}

// browser adds what the session's browser told.
func (g *gathering) browser(ctx context.Context) error {
	if g.session == nil || g.s.inside == nil {
		return nil
	}
	chunks, err := g.s.inside.Chunks(ctx, g.session.ID)
	if err != nil {
		return err
	}
	for _, ch := range chunks {
		if g.bodies[ch.Record].ID == uuid.Nil { // it was recorded after the records were read
			break
		}
		out := pack.Chunk{Seq: ch.Seq, Record: ch.Record.String(), State: pack.ChunkIncluded}
		if g.req.NoRecording {
			out.State = pack.ChunkWithheld
		} else if out.Data, err = g.s.inside.ChunkData(ctx, g.session.ID, ch.Seq); errors.Is(err, governance.ErrNotFound) {
			out.State = pack.ChunkMissing
		} else if errors.Is(err, recorder.ErrTampered) {
			return &notHolding{err.Error()}
		} else if err != nil {
			return err
		}
		g.c.Browser = append(g.c.Browser, out)
	}
	return nil
}

// recording adds the session and the chunks of its recording.
func (g *gathering) recording(ctx context.Context) error {
	if g.session == nil {
		return nil
	}
	x := *g.session
	g.c.Session = &pack.Session{ID: x.ID.String(), Tenant: string(x.Tenant), User: x.User, Actor: x.Actor.ID, Person: string(x.Actor.Person), Subject: x.Subject.ID,
		Scope: string(x.Scope), Reason: x.Reason, Ticket: x.Ticket, State: string(x.State), Ended: string(x.Ended), EndedBy: x.EndedBy, Requests: x.Requests,
		Blocked: x.Blocked, CreatedAt: x.CreatedAt, OpenedAt: x.OpenedAt, ExpiresAt: x.ExpiresAt, EndedAt: x.EndedAt}
	g.c.Session.Unseen = x.Requests
	if g.s.rec == nil {
		return nil
	}
	chunks, err := g.s.rec.Chunks(ctx, x.ID)
	if err != nil {
		return err
	}
	for _, ch := range chunks {
		if g.bodies[ch.Record].ID == uuid.Nil { // it was recorded after the records were read
			break
		}
		g.c.Session.Unseen -= ch.Frames
		out := pack.Chunk{Seq: ch.Seq, Record: ch.Record.String(), State: pack.ChunkIncluded}
		if g.req.NoRecording {
			out.State = pack.ChunkWithheld
		} else if out.Data, err = g.s.rec.ChunkData(ctx, x.ID, ch.Seq); errors.Is(err, governance.ErrNotFound) {
			out.State = pack.ChunkMissing
		} else if errors.Is(err, recorder.ErrTampered) {
			return &notHolding{err.Error()}
		} else if err != nil {
			return err
		}
		g.c.Chunks = append(g.c.Chunks, out)
	}
	g.c.Session.Unseen = max(0, g.c.Session.Unseen) // a frame may have been stored since the session was read
	if g.req.NoRecording && len(chunks) > 0 {
		g.c.Manifest.Withheld = append(g.c.Manifest.Withheld, "the recording: the builder left it out")
	}
	return nil
}

// personal says of every personal value whether it is here, withheld or erased.
func (g *gathering) personal(ctx context.Context) error {
	ids := slices.SortedFunc(maps.Keys(g.records), compareIDs)
	kept, err := g.s.k.Ledger().ReadDisclosures(ctx, ids...)
	if errors.Is(err, ledger.ErrSpoiled) {
		return &notHolding{"personal.json: " + err.Error()}
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, field := range slices.Sorted(maps.Keys(g.records[id].Personal)) {
			p := pack.Personal{Record: id.String(), Field: field, State: pack.Erased}
			for _, d := range kept[id] {
				switch {
				case d.Field != field:
				case !g.req.Disclose:
					p.State = pack.Withheld
				default:
					p.State, p.Value, p.Salt = pack.Disclosed, d.Value, d.Salt
				}
			}
			g.c.Personal = append(g.c.Personal, p)
		}
	}
	return nil
}

// disclosures lists the personal values that are in the pack.
func (g *gathering) disclosures() []disclosed {
	out := []disclosed{}
	for _, p := range g.c.Personal {
		if p.State == pack.Disclosed {
			out = append(out, disclosed{uuid.MustParse(p.Record), p.Field})
		}
	}
	return out
}

func (g *gathering) outline() Outline {
	o := Outline{Kind: g.req.Kind, Subject: g.req.Subject, Tenant: g.tenant, Name: g.root.Action, Withheld: append([]string{}, g.c.Manifest.Withheld...), Actions: len(g.c.Actions),
		Policies: len(g.c.Policies), Records: len(g.c.Records), Alerts: len(g.c.Alerts)}
	for _, a := range g.c.Actions {
		o.Votes += len(a.Votes)
	}
	for _, ch := range g.c.Chunks {
		switch ch.State {
		case pack.ChunkIncluded:
			o.Chunks++
			o.ChunkBytes += int64(len(ch.Data))
		case pack.ChunkMissing:
			o.Missing++
		}
	}
	for _, p := range g.c.Personal {
		if p.State == pack.Erased {
			o.Erased++
		} else {
			o.Personal++
		}
	}
	return o
}

// Outline says what a pack would hold.
type Outline struct {
	Kind       string              `json:"kind"`
	Subject    uuid.UUID           `json:"subject"`
	Tenant     governance.TenantID `json:"tenant,omitempty"`
	Name       string              `json:"name"` // of the action
	Actions    int                 `json:"actions"`
	Votes      int                 `json:"votes"`
	Policies   int                 `json:"policies"`
	Records    int                 `json:"records"`
	Alerts     int                 `json:"alerts"`
	Chunks     int                 `json:"chunks"`
	ChunkBytes int64               `json:"chunk_bytes"`
	Missing    int                 `json:"missing"`  // chunks that are not in the store any more
	Personal   int                 `json:"personal"` // values still kept
	Erased     int                 `json:"erased"`
	Withheld   []string            `json:"withheld"`
}

// Outline looks at what a pack would hold, and builds nothing.
func (s *Service) Outline(ctx context.Context, id governance.Identity, req Request) (Outline, error) {
	g, err := s.collect(ctx, id, req)
	if err != nil {
		return Outline{}, err
	}
	return g.outline(), nil
}

// Request asks for a pack.
type Request struct {
	Kind        string // session or action
	Subject     uuid.UUID
	Reason      string // required
	Disclose    bool   // put personal values in, with PermissionDisclose
	NoRecording bool   // leave the recording's chunks out; their hashes stay
}

const (
	minReason    = 3
	maxReason    = 500
	pollEvery    = 100 * time.Millisecond
	collectTries = 5
)
