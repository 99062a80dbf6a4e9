package product

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// The access log is what a customer sees of our staff: who worked in their account as
// whom, why, and what was done there; and what was changed from outside.

type staffAct struct {
	oversight.Act
	Title string
}

const accessPage = 50

// accessLog reads one page of the log and the cursor of the next.
func (a *App) accessLog(v *visit) ([]oversight.Access, string, error) {
	var before uuid.UUID
	if s := v.r.URL.Query().Get("before"); s != "" {
		var err error
		if before, err = uuid.Parse(s); err != nil {
			return nil, "", governance.ErrNotFound
		}
		if _, _, err := a.over.AccessOf(v.r.Context(), v.tenant.Tenant.ID, before); err != nil {
			return nil, "", err
		}
	}
	log, err := a.over.AccessLog(v.r.Context(), v.tenant.Tenant.ID, before, accessPage)
	next := ""
	if len(log) == accessPage {
		next = log[len(log)-1].Session.String()
	}
	return log, next, err
}

func (a *App) access(v *visit) error {
	log, next, err := a.accessLog(v)
	if err != nil {
		return err
	}
	done, err := a.over.Acts(v.r.Context(), governance.ActionFilter{Tenant: v.tenant.Tenant.ID, States: []governance.State{governance.StateExecuted},
		Names: []string{oversight.ActionPlan, oversight.ActionCredit, oversight.ActionExport, oversight.ActionRefund, oversight.ActionGrant, oversight.ActionRevoke}, Limit: 20})
	if err != nil {
		return err
	}
	acts := make([]staffAct, len(done))
	for i, d := range done {
		acts[i] = staffAct{d, map[string]string{oversight.ActionPlan: "Plan changed", oversight.ActionCredit: "Credit given", oversight.ActionExport: "Data exported",
			oversight.ActionRefund: "Money refunded", oversight.ActionGrant: "Feature given", oversight.ActionRevoke: "Feature taken back"}[d.Action]}
	}
	return a.show(v, http.StatusOK, "access", "Access by our staff", "", map[string]any{"Log": log, "Next": next, "Acts": acts})
}

// accessJSON is the same log for a customer's programs.
func (a *App) accessJSON(v *visit) error {
	log, next, err := a.accessLog(v)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"items": log, "next": next})
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	v.w.Header().Set("Content-Type", "application/json")
	_, _ = v.w.Write(raw) // the client is gone when this fails
	return nil
}

type accessLine struct {
	oversight.AccessAct
	Title string
}

func (a *App) accessOne(v *visit) error {
	id, err := uuid.Parse(v.r.PathValue("id"))
	if err != nil {
		return governance.ErrNotFound
	}
	one, acts, err := a.over.AccessOf(v.r.Context(), v.tenant.Tenant.ID, id)
	if err != nil {
		return err
	}
	lines := make([]accessLine, len(acts))
	for i, x := range acts {
		lines[i] = accessLine{x, accessTitle(x)}
	}
	return a.show(v, http.StatusOK, "access_one", one.Staff+" worked as a user of yours", "", map[string]any{"One": one, "Acts": lines})
}

func accessTitle(x oversight.AccessAct) string {
	switch x.Action {
	case oversight.ActionStart:
		return "Session allowed"
	case "impersonation.open":
		return "Session began"
	case "impersonation.request":
		if x.Outcome == string(governance.OutcomeDenied) {
			return "Something out of reach was tried and refused"
		}
		return "Something was changed"
	case "impersonation.end":
		return "Session ended"
	case "impersonation.pause":
		return "Session paused"
	case "impersonation.resume":
		return "Session went on"
	case "impersonation.review":
		return "Session reviewed by another person"
	}
	s := strings.ReplaceAll(strings.ReplaceAll(x.Action, ".", " "), "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

func (a *App) invoices(v *visit) error {
	list, err := a.svc.Invoices(v.r.Context(), v.tenant.Tenant.ID, 100)
	if err != nil {
		return err
	}
	return a.show(v, http.StatusOK, "invoices", "Invoices", "", list)
}

type settingsPage struct {
	Email     string
	Payout    Payout
	Keys      []APIKey
	NewKey    string
	MayKey    bool
	MayPayout bool
	Acting    bool
}

func (a *App) settings(v *visit) error { return a.showSettings(v, http.StatusOK, "", "") }

func (a *App) showSettings(v *visit, status int, note, key string) error {
	ctx, tenant := v.r.Context(), v.tenant.Tenant.ID
	page := settingsPage{NewKey: key, MayKey: v.holds("apikey:write"), MayPayout: v.holds("payout:write"), Acting: oversight.IsImpersonated(ctx)}
	u, err := a.svc.activeUser(ctx, v.user)
	if err != nil {
		return err
	}
	page.Email = u.Email
	if page.MayKey {
		if page.Keys, err = a.svc.APIKeys(ctx, tenant); err != nil {
			return err
		}
	}
	if page.MayPayout {
		if page.Payout, err = a.svc.Payout(ctx, tenant); err != nil {
			return err
		}
	}
	return a.show(v, status, "settings", "Settings", note, page)
}

func (a *App) setEmail(v *visit) error {
	if err := a.svc.SetEmail(v.r.Context(), v.id, v.tenant.Tenant.ID, v.user, strings.TrimSpace(v.r.PostFormValue("email"))); err != nil {
		return err
	}
	return a.showSettings(v, http.StatusOK, "Your e-mail address was changed.", "")
}

func (a *App) createKey(v *visit) error {
	text, err := a.svc.CreateAPIKey(v.r.Context(), v.id, v.tenant.Tenant.ID, strings.TrimSpace(v.r.PostFormValue("name")))
	if err != nil {
		return err
	}
	return a.showSettings(v, http.StatusOK, "The key was made. It is shown once.", text)
}

func (a *App) setPayout(v *visit) error {
	err := a.svc.SetPayout(v.r.Context(), v.id, v.tenant.Tenant.ID, strings.TrimSpace(v.r.PostFormValue("holder")), v.r.PostFormValue("iban"))
	if err != nil {
		return err
	}
	return a.showSettings(v, http.StatusOK, "The account was changed.", "")
}

var (
	errSignedOut = errors.New("you are signed out")
	errNobody    = errors.New("nobody is signed in")
)
