package governance

import (
	"cmp"
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// State is where an action stands. Only held actions pass through pending and
// approved; only remote ones stay visibly executing or become unknown.
type State string

// The states of an action.
//
//	pending → approved → executing → executed | failed | unknown
//	pending → denied | expired | cancelled | superseded
//	approved, failed → lapsed | superseded
//	unknown → executed | approved (Lookup found nothing: tried again)
const (
	StatePending    State = "pending"
	StateApproved   State = "approved"
	StateExecuting  State = "executing"
	StateExecuted   State = "executed"
	StateUnknown    State = "unknown"
	StateFailed     State = "failed"
	StateDenied     State = "denied"
	StateExpired    State = "expired"
	StateCancelled  State = "cancelled"
	StateLapsed     State = "lapsed"
	StateSuperseded State = "superseded"
)

// VoteDecision is what a person says.
type VoteDecision string

// The votes.
const (
	Approve VoteDecision = "approve"
	Reject  VoteDecision = "deny"
)

// Vote is one person's word on an approval. Digest must be the approval's own: it
// shows that the voter saw this payload.
type Vote struct {
	Decision VoteDecision `json:"decision"`
	Digest   Digest       `json:"digest"`
	Comment  string       `json:"comment"`
	// Assertion is the authenticator's answer, as the browser gives it, where votes are
	// signed; see [VoteVerifier].
	Assertion json.RawMessage `json:"-"`
}

// CastVote is a stored vote.
type CastVote struct {
	Vote
	Person PersonID  `json:"person"`
	Actor  Actor     `json:"actor"`
	Groups []GroupID `json:"groups"` // at the time of the vote
	At     time.Time `json:"at"`

	Signature *VoteSignature `json:"signature,omitempty"` // nil: not signed
}

// Approval is a held action with its votes.
type Approval struct {
	ID              uuid.UUID       `json:"id"`
	Action          string          `json:"action"`
	Tenant          TenantID        `json:"tenant,omitempty"`
	Resource        string          `json:"resource"`
	ResourceVersion int64           `json:"resource_version"`
	Input           json.RawMessage `json:"input"`
	Measures        []Measure       `json:"measures"`
	Preview         json.RawMessage `json:"preview"`
	Digest          Digest          `json:"digest"`
	Decision        Decision        `json:"decision"`
	State           State           `json:"state"`
	Remote          bool            `json:"remote"`
	Requester       Actor           `json:"requester"`
	Subject         *Actor          `json:"subject,omitempty"`
	SessionID       string          `json:"session_id,omitempty"`
	Reason          string          `json:"reason,omitempty"`
	Ticket          string          `json:"ticket,omitempty"`
	Votes           []CastVote      `json:"votes"`
	Missing         []Quorum        `json:"missing"` // what the votes so far leave open
	Result          json.RawMessage `json:"result"`
	Error           string          `json:"error,omitempty"`
	Attempts        int             `json:"attempts"`
	DecideBy        time.Time       `json:"decide_by"`
	ExecuteBy       time.Time       `json:"execute_by,omitzero"`
	CreatedAt       time.Time       `json:"created_at"`
	DecidedAt       time.Time       `json:"decided_at,omitzero"`
	ExecutedAt      time.Time       `json:"executed_at,omitzero"`

	identity  Identity
	excluded  []PersonID
	fence     int64
	bootstrap bool // it ran without an approval, since there were not yet enough people
}

// ApprovalFilter selects held actions; the zero value lists all, newest first.
type ApprovalFilter struct {
	States []State
	Tenant TenantID
	Before uuid.UUID // the last id of the page before
	Limit  int       // default 50, at most 200
}

// Approvals lists held actions, newest first.
func (k *Kernel) Approvals(ctx context.Context, f ApprovalFilter) ([]Approval, error) {
	var rows []actionRow
	q := k.db.Read().NewSelect().Model(&rows).Where("held").Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM gov_action WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	out := make([]Approval, 0, len(rows))
	for _, r := range rows {
		a, err := k.approval(ctx, k.db.Read(), r)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Approval reads one held action with its votes.
func (k *Kernel) Approval(ctx context.Context, id uuid.UUID) (Approval, error) {
	return k.readApproval(ctx, k.db.Read(), id)
}

func (k *Kernel) readApproval(ctx context.Context, db bun.IDB, id uuid.UUID) (Approval, error) {
	var row actionRow
	err := db.NewSelect().Model(&row).Where("id = ? AND held", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Approval{}, fmt.Errorf("approval %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Approval{}, fmt.Errorf("approval %s: %w", id, err)
	}
	return k.approval(ctx, db, row)
}

func (k *Kernel) approval(ctx context.Context, db bun.IDB, r actionRow) (Approval, error) {
	r, votes, err := withVotes(ctx, db, r)
	if err != nil {
		return Approval{}, err
	}
	a := Approval{
		ID: r.ID, Action: r.Name, Tenant: TenantID(r.Tenant), Resource: r.Resource, ResourceVersion: r.ResourceVersion, Input: json.RawMessage(r.Input),
		Preview: json.RawMessage(r.Preview), Digest: Digest(r.Digest), State: State(r.State), Remote: r.Remote, Reason: r.Reason, Ticket: r.Ticket,
		Votes: []CastVote{}, Missing: []Quorum{}, Result: json.RawMessage(r.Result), Error: r.Error, Attempts: r.Attempts, DecideBy: r.DecideBy.Time(), ExecuteBy: r.ExecuteBy.Time(),
		CreatedAt: r.CreatedAt.Time(), DecidedAt: r.DecidedAt.Time(), ExecutedAt: r.ExecutedAt.Time(), fence: r.Fence, bootstrap: r.Bootstrap && !r.Held,
	}
	err = errors.Join(json.Unmarshal([]byte(r.Measures), &a.Measures), json.Unmarshal([]byte(r.Decision), &a.Decision),
		json.Unmarshal([]byte(r.Requirement), &a.Decision.Require), json.Unmarshal([]byte(r.Requester), &a.identity))
	if err != nil {
		return a, fmt.Errorf("approval %s: %w", r.ID, err)
	}
	a.Requester, a.Subject, a.SessionID = a.identity.Actor, a.identity.Subject, a.identity.SessionID
	a.excluded = slices.Concat(a.identity.persons(), a.Decision.Editors, a.Decision.Exclude)
	voters := map[PersonID][]GroupID{}
	for _, v := range votes {
		cv := CastVote{Vote: Vote{Decision: VoteDecision(v.Decision), Digest: Digest(v.Digest), Comment: v.Comment}, Person: PersonID(v.Person), At: v.CreatedAt.Time()}
		if err := errors.Join(json.Unmarshal([]byte(v.Actor), &cv.Actor), json.Unmarshal([]byte(v.Groups), &cv.Groups)); err != nil {
			return a, fmt.Errorf("votes of %s: %w", r.ID, err)
		}
		if v.Signature != "" {
			if err := json.Unmarshal([]byte(v.Signature), &cv.Signature); err != nil {
				return a, fmt.Errorf("votes of %s: %w", r.ID, err)
			}
		}
		if cv.Decision == Approve && (cv.Signature != nil || !a.Signed()) {
			voters[cv.Person] = cv.Groups
		}
		a.Votes = append(a.Votes, cv)
	}
	if len(a.Decision.Require) > 0 {
		a.Missing = append(a.Missing, lacks(a.Decision.Require, voters)...)
	}
	return a, nil
}

// withVotes brings the votes on an action of the same moment as its row. Two reads
// could see it pending and yet with the vote that decided it; so the votes come with
// the fence, which each vote moves, and the row is read again until both agree.
func withVotes(ctx context.Context, db bun.IDB, r actionRow) (actionRow, []voteRow, error) {
	for {
		var rows []struct {
			voteRow `bun:",extend"`
			Fence   int64 `bun:"fence"`
		}
		err := db.NewSelect().TableExpr("gov_action AS a").Join("LEFT JOIN gov_vote AS v ON v.approval = a.id").ColumnExpr("v.*, a.fence").
			Where("a.id = ?", r.ID).OrderExpr("v.created_at, v.person").Scan(ctx, &rows)
		if err == nil && len(rows) == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return r, nil, fmt.Errorf("votes of %s: %w", r.ID, err)
		}
		if rows[0].Fence == r.Fence {
			votes := make([]voteRow, 0, len(rows))
			for _, v := range rows {
				if v.Person != "" { // the outer join's row without a vote
					votes = append(votes, v.voteRow)
				}
			}
			return r, votes, nil
		}
		if err := db.NewSelect().Model(&r).WherePK().Scan(ctx); err != nil {
			return r, nil, fmt.Errorf("approval %s: %w", r.ID, err)
		}
	}
}

// WhyNot says why a person may not vote on an approval, or is empty when they may.
// The console shows it beside a disabled button; [Kernel.Decide] decides by it.
func (a Approval) WhyNot(id Identity, p Person) string {
	switch {
	case a.State != StatePending:
		return "it is " + string(a.State)
	case id.Subject != nil:
		return "you are impersonating somebody"
	case id.Actor.Person == "":
		return "only a person may vote, and no shared key is one"
	case id.Actor.Kind == ActorKey && !a.personalKeys():
		return "the policy does not accept votes by API key"
	case id.Actor.Kind != ActorUser && id.Actor.Kind != ActorKey && id.Actor.Kind != ActorTenant:
		return "only a person may vote"
	case slices.Contains(a.identity.persons(), id.Actor.Person):
		return "you asked for this"
	case slices.Contains(a.Decision.Editors, id.Actor.Person):
		return "you edited the policy that holds it"
	case slices.Contains(a.Decision.Exclude, id.Actor.Person) && a.Action == ActionSettle:
		return "you had a part in the act that it settles"
	case slices.Contains(a.Decision.Exclude, id.Actor.Person):
		return "you wrote the automation that asks for this"
	case !p.Active:
		return "your account is not active"
	case p.barred:
		return "the policy excludes a group that you are in"
	case len(a.rolesOf(p)) == 0:
		return "you are in none of the groups that decide on it"
	}
	for _, v := range a.Votes {
		if v.Person == id.Actor.Person {
			return "you have voted"
		}
	}
	return ""
}

func (a Approval) personalKeys() bool {
	for _, r := range a.Decision.Require {
		if !r.PersonalKey {
			return false
		}
	}
	return true
}

// rolesOf lists the deciding groups the person fills a place of.
func (a Approval) rolesOf(p Person) []GroupID {
	out := []GroupID{}
	for _, r := range a.Decision.Require {
		for _, q := range r.quorums() {
			if slices.ContainsFunc(q.seats(), p.In) && !slices.Contains(out, q.Group) {
				out = append(out, q.Group)
			}
		}
	}
	return out
}

// CanVote reports whether the caller may vote now, and if not why.
func (k *Kernel) CanVote(ctx context.Context, id Identity, a Approval) (bool, string) {
	if err := k.Authorize(ctx, id, "approval:vote", Target{Tenant: a.Tenant}); err != nil {
		return false, "your role may not decide"
	}
	p, err := k.voter(ctx, a, id.Actor.Person, id.Actor)
	if err != nil {
		return false, "your account is not known"
	}
	why := a.WhyNot(id, p)
	return why == "", why
}

func (k *Kernel) resolve(ctx context.Context, p PersonID) (Person, error) {
	if p == "" || strings.HasPrefix(string(p), customers) { // no id of staff
		return Person{ID: p}, nil
	}
	got, err := k.opts.Directory.Resolve(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return Person{ID: p}, nil // known to nobody: not active, in no group
	}
	// No group of a directory may pass for the mark of a quorum, or for the tenant.
	got.Groups = staffGroups(got)
	return got, err
}

// Decide casts a vote: the one door for HTTP, console, command line and connectors.
// With the last vote needed the action is approved and, unless its policy says
// manual, executed. The approval comes back as it stands afterwards.
func (k *Kernel) Decide(ctx context.Context, id Identity, approval uuid.UUID, v Vote) (Approval, error) {
	if id.Actor.Kind != ActorTenant { // who has no permissions: that they are a contact is asked below
		if err := k.Authorize(ctx, id, "approval:vote", Target{}); err != nil {
			return Approval{}, err
		}
	}
	if v.Decision != Approve && v.Decision != Reject {
		return Approval{}, Invalid("decision", "%q is neither approve nor deny", v.Decision)
	}
	if len(v.Comment) > 2000 || strings.ContainsRune(v.Comment, 0) {
		return Approval{}, Invalid("comment", "has more than 2000 bytes or contains U+0000")
	}
	for try := 0; ; try++ {
		a, err := k.decideOnce(ctx, id, approval, v)
		if err == nil || !errors.Is(err, ErrRetry) || try == 9 {
			return a, err
		}
	}
}

func (k *Kernel) decideOnce(ctx context.Context, id Identity, approval uuid.UUID, v Vote) (Approval, error) {
	a, err := k.Approval(ctx, approval)
	if err != nil {
		return a, err
	}
	if subtle.ConstantTimeCompare([]byte(v.Digest), []byte(a.Digest)) != 1 {
		return a, fmt.Errorf("the vote's digest is not that of approval %s: %w", approval, ErrConflict)
	}
	if a.State != StatePending {
		return a, fmt.Errorf("approval %s is %s: %w", approval, a.State, ErrConflict)
	}
	voter, err := k.voter(ctx, a, id.Actor.Person, id.Actor)
	if err != nil {
		return a, fmt.Errorf("resolve the voter: %w", err)
	}
	if why := cmp.Or(a.WhyNot(id, voter), k.unsigned(a, v)); why != "" {
		return a, k.refuseVote(ctx, id, a, why)
	}
	// Membership is asked again for everybody who voted before: leaving a group takes
	// the vote with it.
	voters, err := k.standing(ctx, a)
	if err != nil {
		return a, err
	}
	if v.Decision == Approve {
		voters[id.Actor.Person] = voter.Groups
	}
	complete := v.Decision == Approve && a.complete(voters)
	var state State
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		state = StatePending
		return k.voteTx(ctx, tx, id, a, v, voter, complete, &state)
	})
	var bad *SignatureError
	if errors.As(err, &bad) {
		return a, k.refuseSignature(ctx, id, a, bad)
	}
	if err != nil {
		return a, err
	}
	if state == StateApproved && !a.manual() {
		if _, err := k.Execute(ctx, System("approvals"), approval); err != nil { // the vote stands; the sweep tries again, and the state says how it went
			k.opts.Logger.WarnContext(ctx, "execution after approval", "approval", approval, "error", err)
		}
	}
	return k.readApproval(ctx, k.db.Handle(), approval)
}

func (a Approval) manual() bool {
	return slices.ContainsFunc(a.Decision.Require, func(r Require) bool { return r.Manual })
}

// against is how many people voted against it.
func (a Approval) against() int {
	n := 0
	for _, v := range a.Votes {
		if v.Decision == Reject {
			n++
		}
	}
	return n
}

func (a Approval) complete(voters map[PersonID][]GroupID) bool {
	return len(lacks(a.Decision.Require, voters)) == 0
}

// standing is who approved and is still somebody who may.
func (k *Kernel) standing(ctx context.Context, a Approval) (map[PersonID][]GroupID, error) {
	out := map[PersonID][]GroupID{}
	for _, cv := range a.Votes {
		if cv.Decision != Approve {
			continue
		}
		p, err := k.voter(ctx, a, cv.Person, cv.Actor)
		if err != nil {
			return nil, fmt.Errorf("resolve voter %s: %w", cv.Person, err)
		}
		holds, err := k.holds(ctx, a, cv)
		if err != nil {
			return nil, err
		}
		if holds && p.Active && !p.barred && !slices.Contains(a.excluded, p.ID) {
			out[cv.Person] = p.Groups
		}
	}
	return out, nil
}

func (k *Kernel) refuseVote(ctx context.Context, id Identity, a Approval, why string) error {
	denied := &DeniedError{"approval.vote", "vote", why}
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := k.RecordTx(ctx, tx, id, Record{Action: "approval.vote", Outcome: OutcomeDenied, Tenant: a.Tenant, Resource: RefTo("approval", a.ID),
			ActionID: a.ID, Digest: a.Digest, Data: map[string]string{"why": why}})
		return err
	})
	if err != nil {
		return errors.Join(denied, err)
	}
	return denied
}

func (k *Kernel) voteTx(ctx context.Context, tx *Tx, id Identity, a Approval, v Vote, voter Person, complete bool, state *State) error {
	now := k.Now()
	switch why, err := k.overtakenTx(ctx, tx, a); {
	case err != nil:
		return err
	case why != "":
		*state = StateSuperseded
		return k.closeTx(ctx, tx, id, a, StateSuperseded, why)
	case now.After(a.DecideBy):
		*state = StateExpired
		return k.closeTx(ctx, tx, id, a, StateExpired, "nobody decided in time")
	}
	actor, err := json.Marshal(id.Actor)
	if err != nil {
		return fmt.Errorf("voter: %w", err)
	}
	groups, err := json.Marshal(append([]GroupID{}, voter.Groups...))
	if err != nil {
		return fmt.Errorf("voter: %w", err)
	}
	// The fence makes sure that nothing happened to the approval since it was read.
	next := StatePending
	set := map[string]any{}
	switch {
	case v.Decision == Reject && a.against()+1 >= rejections(a.Decision.Require):
		next = StateDenied
		set["decided_at"] = atMicros(now)
	case complete:
		next = StateApproved
		set["decided_at"] = atMicros(now)
		within := a.Decision.Require[0].ExecuteWithin.Duration
		for _, r := range a.Decision.Require[1:] {
			within = min(within, r.ExecuteWithin.Duration)
		}
		set["execute_by"] = atMicros(now.Add(within))
	}
	if err := k.moveTx(ctx, tx, a, StatePending, next, set); err != nil {
		return err
	}
	signature, signed, err := k.signTx(ctx, tx, id, a, v)
	if err != nil {
		return err
	}
	row := &voteRow{Approval: a.ID, Person: string(id.Actor.Person), Actor: string(actor), Decision: string(v.Decision), Digest: string(v.Digest),
		Comment: v.Comment, Groups: string(groups), CreatedAt: atMicros(now), Signature: signature}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if IsUnique(err) {
			return fmt.Errorf("approval %s: %s has voted: %w", a.ID, id.Actor.Person, ErrConflict)
		}
		return fmt.Errorf("vote: %w", err)
	}
	*state = next
	typ := map[State]string{StatePending: "approval.voted", StateDenied: "approval.denied", StateApproved: "approval.approved"}[next]
	if next == StateDenied {
		if err := settleTx(ctx, tx, a.ID, reservationVoided); err != nil {
			return err
		}
	}
	if next != StatePending {
		if err := k.ResolveAlertTx(ctx, tx, approvalAlert(a.ID)); err != nil {
			return err
		}
	}
	data := map[string]any{"decision": v.Decision, "comment": v.Comment, "groups": voter.Groups}
	if len(voter.access) > 0 {
		data["access"] = voter.access
	}
	if len(voter.delegated) > 0 {
		data["delegated"] = voter.delegated
	}
	if signed != nil {
		data["signature"] = signed
	}
	return k.recordApprovalTx(ctx, tx, id, a, "approval.vote", typ, next, data)
}

func (k *Kernel) recordApprovalTx(ctx context.Context, tx *Tx, id Identity, a Approval, action, event string, state State, data map[string]any) error {
	data["state"], data["action"] = state, a.Action
	ev, err := NewEvent(event, a.Tenant, 0, Ref{"approval", a.ID.String()}, map[string]any{"approval": a.ID, "action": a.Action, "state": state, "digest": a.Digest})
	if err != nil {
		return err
	}
	_, err = k.RecordTx(ctx, tx, id, Record{Action: action, Tenant: a.Tenant, Resource: RefTo("approval", a.ID), ActionID: a.ID, Digest: a.Digest, Data: data}, ev)
	return err
}

// moveTx changes the state of an approval that is still as it was read.
func (k *Kernel) moveTx(ctx context.Context, tx *Tx, a Approval, from, to State, set map[string]any) error {
	q := tx.NewUpdate().Table("gov_action").Set("state = ?", to).Set("fence = fence + 1").
		Where("id = ? AND state = ? AND fence = ?", a.ID, from, a.fence)
	for column, value := range set {
		q = q.Set("? = ?", bun.Ident(column), value)
	}
	res, err := q.Exec(ctx)
	if err != nil {
		return fmt.Errorf("approval %s: %w", a.ID, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fmt.Errorf("approval %s changed meanwhile: %w", a.ID, ErrRetry)
	}
	return nil
}

// closeTx ends an approval that was not executed and gives back what it reserved.
func (k *Kernel) closeTx(ctx context.Context, tx *Tx, id Identity, a Approval, to State, why string) error {
	if err := k.moveTx(ctx, tx, a, a.State, to, map[string]any{"decided_at": atMicros(k.Now()), "error": why}); err != nil {
		return err
	}
	if err := settleTx(ctx, tx, a.ID, reservationVoided); err != nil {
		return err
	}
	if err := k.ResolveAlertTx(ctx, tx, approvalAlert(a.ID)); err != nil {
		return err
	}
	return k.recordApprovalTx(ctx, tx, id, a, "approval."+string(to), "approval."+string(to), to, map[string]any{"why": why})
}

// Cancel withdraws a held action; its requester may, and whoever may vote on it.
func (k *Kernel) Cancel(ctx context.Context, id Identity, approval uuid.UUID, reason string) error {
	a, err := k.Approval(ctx, approval)
	if err != nil {
		return err
	}
	own := id.Actor.ID == a.Requester.ID || id.Actor.Person != "" && id.Actor.Person == a.Requester.Person
	if !own {
		if err := k.Authorize(ctx, id, "approval:vote", Target{Tenant: a.Tenant}); err != nil {
			return err
		}
	}
	if a.State != StatePending && a.State != StateApproved {
		return fmt.Errorf("approval %s is %s: %w", approval, a.State, ErrConflict)
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		return k.closeTx(ctx, tx, id, a, StateCancelled, reason)
	})
}
