package product

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
)

//go:embed app
var appFiles embed.FS

// App is the pages that a customer's user sees, at a path of its own: dashboard,
// documents, team, invoices, billing, settings, and the log of our staff's access. A
// customer signs in by a link; staff reach it through an impersonation only, whose
// middleware stands around it. What the user may not do, or the session does not
// reach, is not there.
type App struct {
	svc    *Service
	over   *oversight.Service
	base   string
	secure bool
	inside *browserrec.Service // nil: nothing is recorded in the browser
	css    template.CSS
	policy string
	pages  map[string]*template.Template
	mux    *http.ServeMux
}

var _ http.Handler = (*App)(nil)

// AppOptions says where an App is.
type AppOptions struct {
	Base   string // such as "/app/"
	Secure bool   // cookies over HTTPS only
	// Browser records impersonated pages in the browser as well, from Base+"recording/"; nil
	// does not.
	Browser *browserrec.Service
}

// NewApp makes the pages.
func NewApp(svc *Service, over *oversight.Service, opts AppOptions) (*App, error) {
	base := opts.Base
	if svc == nil || over == nil || !strings.HasPrefix(base, "/") || !strings.HasSuffix(base, "/") {
		return nil, errors.New("product: both services are required, and a base that begins and ends with a slash")
	}
	css, err := appFiles.ReadFile("app/app.css")
	if err != nil {
		return nil, fmt.Errorf("product: %w", err)
	}
	sum := sha256.Sum256(css)
	a := &App{svc: svc, over: over, base: base, secure: opts.Secure, inside: opts.Browser, css: template.CSS(css), pages: map[string]*template.Template{}, mux: http.NewServeMux(), //nolint:gosec // our own file
		policy: "default-src 'none'; script-src 'self'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}
	if a.inside != nil {
		a.policy += "; connect-src 'self'"
	}
	for _, p := range []string{"overview", "documents", "document", "team", "billing", "invoices", "settings", "access", "access_one", "signin", "message", "requests"} {
		if a.pages[p], err = template.ParseFS(appFiles, "app/layout.html", "app/"+p+".html"); err != nil {
			return nil, fmt.Errorf("product: %w", err)
		}
	}
	for _, r := range []struct {
		pattern, path, right, here string
		fn                         func(*visit) error
	}{
		{"GET ", "{$}", "", "", a.overview},
		{"GET ", "documents", "document:read", "documents", a.documents},
		{"GET ", "documents/{id}", "document:read", "documents", a.document},
		{"POST ", "documents/{id}", "document:write", "documents", a.rename},
		{"GET ", "team", "team:read", "team", a.team},
		{"GET ", "invoices", "billing:read", "invoices", a.invoices},
		{"GET ", "billing", "billing:read", "billing", a.billing},
		{"POST ", "billing/plan", "plan:write", "billing", a.changePlan},
		{"GET ", "settings", "setting:read", "settings", a.settings},
		{"POST ", "settings/credentials", "email:write", "settings", a.setEmail},
		{"POST ", "settings/api-keys", "apikey:write", "settings", a.createKey},
		{"POST ", "settings/payout", "payout:write", "settings", a.setPayout},
		{"GET ", "requests", "consent:write", "requests", a.requests},
		{"POST ", "requests/{id}", "consent:write", "requests", a.answerRequest},
		{"GET ", "access", "access:read", "access", a.access},
		{"GET ", "access.json", "access:read", "access", a.accessJSON},
		{"GET ", "access/{id}", "access:read", "access", a.accessOne},
		{"", "", "", "", func(*visit) error { return governance.ErrNotFound }},
	} {
		a.mux.HandleFunc(r.pattern+base+r.path, a.page(r.right, r.here, r.fn))
	}
	a.mux.HandleFunc("GET "+base+"banner.js", oversight.BannerScript)
	a.mux.HandleFunc("GET "+base+"signin/{token}", a.signInPage)
	a.mux.HandleFunc("POST "+base+"signin/{token}", a.signIn)
	a.mux.HandleFunc("GET "+base+"consent/{token}", a.consentPage)
	a.mux.HandleFunc("POST "+base+"consent/{token}", a.consent)
	a.mux.HandleFunc("POST "+base+"signout", a.signOut)
	return a, nil
}

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", a.policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	a.mux.ServeHTTP(w, r)
}

// rights is what each role of a customer's user may do.
func rights(role string) []string {
	switch role {
	case RoleAdmin:
		return []string{"document:read", "document:write", "team:read", "billing:read", "plan:write", "setting:read", "email:write", "apikey:write", "payout:write", "access:read", "consent:write"}
	case RoleMember:
		return []string{"document:read", "document:write", "team:read", "setting:read", "email:write"}
	case RoleViewer:
		return []string{"document:read", "setting:read", "email:write"}
	}
	return nil
}

// visit is one request of a user, or of staff who work as them.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	session oversight.Session
	id      governance.Identity
	user    string // their id
	roles   []string
	tenant  governance.TenantState
	here    string
}

// holds tells whether the user holds a right.
func (v *visit) holds(right string) bool {
	return slices.ContainsFunc(v.roles, func(role string) bool { return slices.Contains(rights(role), right) })
}

// may tells whether the user holds a right and the session, if there is one, reaches
// it. A change of plan goes through the guard of our staff: customers ask for it.
func (v *visit) may(right string) bool {
	return v.holds(right) && oversight.Permits(v.r.Context(), right) && (right != "plan:write" || oversight.IsImpersonated(v.r.Context()))
}

func (a *App) page(right, here string, fn func(v *visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, here: here}
		tenant, err := a.who(v)
		if err != nil {
			a.fail(v, err)
			return
		}
		if v.tenant, err = a.svc.k.TenantState(r.Context(), tenant); err == nil {
			if right != "" && !v.may(right) {
				err = &governance.DeniedError{Action: right, Rule: "role", Reason: "this is not within reach of the user or of the session"}
			} else {
				err = fn(v)
			}
		}
		if err != nil {
			a.fail(v, err)
		}
	}
}

// who fills in whose request it is: the session's while there is one, whatever other
// cookie the browser has, and else the customer's own.
func (a *App) who(v *visit) (governance.TenantID, error) {
	if session, ok := oversight.FromContext(v.r.Context()); ok {
		v.session = session
		v.id, _ = governance.IdentityFrom(v.r.Context())
		if v.id.Subject == nil {
			return "", errNobody
		}
		v.user, v.roles = session.User, v.id.Subject.Roles
		return session.Tenant, nil
	}
	u, err := a.svc.customer(v.r)
	if errors.Is(err, governance.ErrNotFound) {
		return "", errNobody
	}
	if err != nil {
		return "", err
	}
	v.id, v.user, v.roles = u.identity(), u.ID, []string{u.Role}
	return u.Tenant, nil
}

type navItem struct {
	Title, Href string
	Here        bool
}

type appPage struct {
	Title, Base, Note string
	CSS               template.CSS
	Tenant            governance.Tenant
	Banner            template.HTML
	Recorder          template.HTML
	User              string // signed in; empty while impersonated
	Nav               []navItem
	Data              any
}

func (a *App) show(v *visit, status int, name, title, note string, data any) error {
	p := appPage{Title: title, Base: a.base, Note: note, CSS: a.css, Tenant: v.tenant.Tenant, Data: data, Banner: a.over.Banner(v.r.Context())}
	if p.Banner == "" {
		p.User = v.id.Actor.Name
	} else if a.inside != nil {
		var err error
		if p.Recorder, err = a.inside.Script(v.r); err != nil {
			return err
		}
	}
	for _, n := range []struct{ right, title, path string }{{"", "Overview", ""}, {"document:read", "Documents", "documents"}, {"team:read", "Team", "team"}, {"billing:read", "Invoices", "invoices"}, {"billing:read", "Billing", "billing"},
		{"setting:read", "Settings", "settings"}, {"consent:write", "Requests", "requests"}, {"access:read", "Staff access", "access"}} {
		if v.user != "" && (n.right == "" || v.may(n.right)) {
			p.Nav = append(p.Nav, navItem{n.title, a.base + n.path, n.path == v.here})
		}
	}
	var b bytes.Buffer
	if err := a.pages[name].ExecuteTemplate(&b, "layout", p); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // the client is gone when this fails
	return nil
}

// fail answers with a page that says what went wrong, and nothing of the inside.
func (a *App) fail(v *visit, err error) {
	var denied *governance.DeniedError
	var invalid *governance.InvalidError
	status, title, text := http.StatusInternalServerError, "Something went wrong", "The page could not be made."
	switch {
	case errors.Is(err, errNobody):
		status, title, text = http.StatusUnauthorized, "Sign in", "Nobody is signed in to the product. Customers use the link in their mail; staff open it from a tenant's page in the console."
	case errors.Is(err, errSignedOut):
		status, title, text = http.StatusOK, "Signed out", "Use the link in your mail to come back."
	case errors.As(err, &denied):
		status, title, text = http.StatusForbidden, "Not allowed", denied.Reason
	case errors.As(err, &invalid):
		status, title, text = http.StatusUnprocessableEntity, "That does not work", invalid.Error()
	case errors.Is(err, governance.ErrNotFound):
		status, title, text = http.StatusNotFound, "Not found", "There is no such page."
	case errors.Is(err, governance.ErrConflict):
		status, title, text = http.StatusConflict, "Changed meanwhile", "Somebody changed it before you. Look again and repeat."
	default:
		a.svc.k.Logger().ErrorContext(v.r.Context(), "product page", "tenant", v.tenant.Tenant.ID, "error", err)
	}
	if a.show(v, status, "message", title, "", text) != nil {
		http.Error(v.w, text, status)
	}
}

func (a *App) overview(v *visit) error {
	users, documents, err := a.svc.Counts(v.r.Context(), v.tenant.Tenant.ID)
	if err != nil {
		return err
	}
	blocked := ""
	for _, r := range v.tenant.Restrictions {
		blocked = r.Reason
	}
	return a.show(v, http.StatusOK, "overview", "Overview", "", map[string]any{"Plan": v.tenant.Tenant.Plan, "Users": users, "Documents": documents, "Blocked": blocked})
}

func (a *App) documents(v *visit) error {
	docs, err := a.svc.Documents(v.r.Context(), v.tenant.Tenant.ID, 100)
	if err != nil {
		return err
	}
	note := ""
	if v.r.URL.Query().Get("done") == "renamed" {
		note = "The document was renamed."
	}
	return a.show(v, http.StatusOK, "documents", "Documents", note, docs)
}

func (a *App) document(v *visit) error {
	doc, err := a.svc.Document(v.r.Context(), v.tenant.Tenant.ID, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.show(v, http.StatusOK, "document", doc.Title, "", map[string]any{"Doc": doc, "MayWrite": v.may("document:write")})
}

func (a *App) rename(v *visit) error {
	version, err := strconv.ParseInt(v.r.PostFormValue("version"), 10, 64)
	if err != nil {
		return governance.Invalid("version", "is not a number")
	}
	if err := a.svc.Rename(v.r.Context(), v.id, v.tenant.Tenant.ID, v.r.PathValue("id"), strings.TrimSpace(v.r.PostFormValue("title")), version); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, a.base+"documents?done=renamed", http.StatusSeeOther)
	return nil
}

func (a *App) team(v *visit) error {
	users, err := a.svc.Users(v.r.Context(), v.tenant.Tenant.ID, 200)
	if err != nil {
		return err
	}
	return a.show(v, http.StatusOK, "team", "Team", "", users)
}

func (a *App) billing(v *visit) error { return a.showBilling(v, http.StatusOK, "") }

func (a *App) showBilling(v *visit, status int, note string) error {
	sub, err := a.svc.Subscription(v.r.Context(), v.tenant.Tenant.ID)
	if err != nil {
		return err
	}
	credits, err := a.svc.Credits(v.r.Context(), v.tenant.Tenant.ID, [16]byte{}, 20)
	if err != nil {
		return err
	}
	all, err := a.svc.Plans(v.r.Context())
	if err != nil {
		return err
	}
	name, others := sub.Plan, []Plan{}
	for _, p := range all {
		if p.ID == sub.Plan {
			name = p.Name
		} else if v.may("plan:write") {
			others = append(others, p)
		}
	}
	return a.show(v, status, "billing", "Billing", note, map[string]any{"Plan": name, "MRR": sub.MRR, "Plans": others, "Credits": credits})
}

// changePlan goes through the same guard as a change made in the console: what one
// actor may give up alone counts over both.
func (a *App) changePlan(v *visit) error {
	_, err := a.svc.ChangePlan(v.r.Context(), v.id, v.tenant.Tenant.ID, v.r.PostFormValue("plan"), &governance.DoOptions{Reason: "As the customer: " + v.session.Reason, Ticket: v.session.Ticket})
	var held *governance.ApprovalRequiredError
	switch {
	case errors.As(err, &held):
		return a.showBilling(v, http.StatusAccepted, "The change waits for approval.")
	case err != nil:
		return err
	}
	return a.showBilling(v, http.StatusOK, "The plan was changed.")
}
