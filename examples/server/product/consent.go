package product

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// A customer's administrators answer what our staff may do only with their word: in the
// product, or by a link that holds for one person and one request. No impersonation
// reaches either: the page is on the deny list, the link is refused in a session, and
// the kernel takes no vote from who represents somebody.

// Consents lists what waits for a tenant's word, newest first.
func (s *Service) Consents(ctx context.Context, tenant governance.TenantID) ([]governance.Approval, error) {
	if tenant == "" {
		return nil, governance.Invalid("tenant", "is required")
	}
	all, err := s.k.Approvals(ctx, governance.ApprovalFilter{States: []governance.State{governance.StatePending}, Tenant: tenant, Limit: 200})
	out := []governance.Approval{}
	for _, a := range all {
		if a.NamesTenant() {
			out = append(out, a)
		}
	}
	return out, err
}

// ConsentToken is the secret of a link by which one user of the tenant answers one
// request, below "consent/" of the App. It is bound to what is asked for, ends with the
// time to decide, and is for the user's own mailbox, never for staff.
func (s *Service) ConsentToken(ctx context.Context, user string, approval uuid.UUID) (string, error) {
	a, err := s.k.Approval(ctx, approval)
	if err != nil {
		return "", err
	}
	u, err := s.activeUser(ctx, user)
	if err != nil {
		return "", err
	}
	if !a.NamesTenant() || !u.answers(a) {
		return "", fmt.Errorf("a consent of %s to %s: %w", user, approval, governance.ErrNotFound)
	}
	return approval.String() + "." + s.signUser(consentPurpose(a), user, a.DecideBy), nil
}

// answers tells whether the user may read and answer what the tenant is asked.
func (u User) answers(a governance.Approval) bool {
	return u.Tenant == a.Tenant && u.Role == RoleAdmin && u.Staff == ""
}

func consentPurpose(a governance.Approval) string {
	return "consent/" + a.ID.String() + "/" + string(a.Digest)
}

// consentOf gives the request and the user of a link's secret.
func (s *Service) consentOf(ctx context.Context, token string) (governance.Approval, User, error) {
	name, rest, _ := strings.Cut(token, ".")
	id, err := uuid.Parse(name)
	if err != nil {
		return governance.Approval{}, User{}, governance.ErrNotFound
	}
	a, err := s.k.Approval(ctx, id)
	if err != nil {
		return a, User{}, err
	}
	u, err := s.signedUser(ctx, consentPurpose(a), rest)
	if err == nil && !u.answers(a) {
		err = governance.ErrNotFound
	}
	return a, u, err
}

func (s *Service) answer(r *http.Request, u User, a governance.Approval) (governance.Approval, error) {
	if oversight.IsImpersonated(r.Context()) {
		return a, &governance.DeniedError{Action: "approval.vote", Rule: "impersonation", Reason: "a consent is the customer's own"}
	}
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = ""
	}
	id := governance.Identity{Actor: governance.TenantActor(u.Tenant, u.contact()), Origin: governance.Origin{IP: ip, UserAgent: r.UserAgent()}}
	return s.k.Decide(r.Context(), id, a.ID, governance.Vote{Decision: governance.VoteDecision(r.PostFormValue("decision")), Digest: governance.Digest(r.PostFormValue("digest")), Comment: strings.TrimSpace(r.PostFormValue("comment"))})
}

// consentView is a request as the customer reads it.
type consentView struct {
	governance.Approval
	Title, Who string
	Lines      [][2]string
	Post       string // where the answer goes
	Answered   bool
}

func newConsentView(a governance.Approval, u User, post string) consentView {
	v := consentView{Approval: a, Title: a.Action, Who: a.Requester.Name, Post: post}
	if title := map[string]string{oversight.ActionStart: "Work in your account as one of your users", oversight.ActionPlan: "Change your plan", oversight.ActionExport: "Take a copy of your data out",
		oversight.ActionCredit: "Give you a credit", oversight.ActionRefund: "Give you money back", oversight.ActionGrant: "Give you a feature"}[a.Action]; title != "" {
		v.Title = title
	}
	if v.Who == "" {
		v.Who = a.Requester.ID
	}
	person := governance.TenantActor(u.Tenant, u.contact()).Person
	for _, vote := range a.Votes {
		v.Answered = v.Answered || vote.Person == person
	}
	var fields map[string]any
	if json.Unmarshal(a.Preview, &fields) == nil {
		flat("", fields, &v.Lines)
		for i := range v.Lines {
			if v.Lines[i][1] == u.ID {
				v.Lines[i][1] = u.Name
			}
		}
	}
	return v
}

// flat lists what a preview says, line by line.
func flat(prefix string, fields map[string]any, out *[][2]string) {
	for _, name := range sortedKeys(fields) {
		title := strings.TrimSpace(prefix + " " + strings.ReplaceAll(name, "_", " "))
		switch x := fields[name].(type) {
		case nil:
		case bool:
			*out = append(*out, [2]string{title, map[bool]string{true: "yes", false: "no"}[x]})
		case map[string]any:
			if amount, ok := x["amount"].(string); ok && len(x) == 2 {
				*out = append(*out, [2]string{title, fmt.Sprintf("%s %v", amount, x["currency"])})
				continue
			}
			flat(title, x, out)
		default:
			*out = append(*out, [2]string{title, fmt.Sprint(x)})
		}
	}
}

func (a *App) requests(v *visit) error { return a.showRequests(v, http.StatusOK, "") }

func (a *App) showRequests(v *visit, status int, note string) error {
	all, err := a.svc.Consents(v.r.Context(), v.tenant.Tenant.ID)
	if err != nil {
		return err
	}
	u, err := a.svc.activeUser(v.r.Context(), v.user)
	if err != nil {
		return err
	}
	views := make([]consentView, len(all))
	for i, x := range all {
		views[i] = newConsentView(x, u, a.base+"requests/"+x.ID.String())
	}
	return a.show(v, status, "requests", "Requests", note, views)
}

func (a *App) answerRequest(v *visit) error {
	id, err := uuid.Parse(v.r.PathValue("id"))
	if err != nil {
		return governance.ErrNotFound
	}
	all, err := a.svc.Consents(v.r.Context(), v.tenant.Tenant.ID)
	if err != nil {
		return err
	}
	u, err := a.svc.activeUser(v.r.Context(), v.user)
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.ID == id {
			if _, err := a.svc.answer(v.r, u, x); err != nil {
				return err
			}
			return a.showRequests(v, http.StatusOK, "Your answer was recorded.")
		}
	}
	return governance.ErrNotFound
}

// consentPage asks before it takes an answer: links are opened by more than people.
func (a *App) consentPage(w http.ResponseWriter, r *http.Request) {
	v := &visit{w: w, r: r}
	x, u, err := a.svc.consentOf(r.Context(), r.PathValue("token"))
	if err == nil && oversight.IsImpersonated(r.Context()) {
		err = governance.ErrNotFound
	}
	if err == nil {
		err = a.show(v, http.StatusOK, "requests", "Request", "", []consentView{newConsentView(x, u, r.URL.Path)})
	}
	if err != nil {
		a.fail(v, err)
	}
}

func (a *App) consent(w http.ResponseWriter, r *http.Request) {
	v := &visit{w: w, r: r}
	x, u, err := a.svc.consentOf(r.Context(), r.PathValue("token"))
	if err == nil {
		_, err = a.svc.answer(r, u, x)
	}
	if err == nil {
		err = a.show(v, http.StatusOK, "message", "Thank you", "", "Your answer was recorded.")
	}
	if err != nil {
		a.fail(v, err)
	}
}
