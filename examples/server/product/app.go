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
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

//go:embed app
var appFiles embed.FS

// App is the pages that a customer's user sees, at a path of its own: overview,
// documents, team and billing. It has no sign-in: staff reach it through an
// impersonation, whose middleware stands around it. What the user may not do, or the
// session does not reach, is not there.
type App struct {
	svc     *Service
	base    string
	endPath string
	css     template.CSS
	policy  string
	pages   map[string]*template.Template
	mux     *http.ServeMux
}

var _ http.Handler = (*App)(nil)

// NewApp makes the pages below base, such as "/app/". endPath is
// oversight.Service.EndPath.
func NewApp(svc *Service, base, endPath string) (*App, error) {
	if svc == nil || !strings.HasPrefix(base, "/") || !strings.HasSuffix(base, "/") {
		return nil, errors.New("product: a service is required, and a base that begins and ends with a slash")
	}
	css, err := appFiles.ReadFile("app/app.css")
	if err != nil {
		return nil, fmt.Errorf("product: %w", err)
	}
	sum := sha256.Sum256(css)
	a := &App{svc: svc, base: base, endPath: endPath, css: template.CSS(css), pages: map[string]*template.Template{}, mux: http.NewServeMux(), //nolint:gosec // our own file
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}
	for _, p := range []string{"overview", "documents", "document", "team", "billing", "message"} {
		if a.pages[p], err = template.ParseFS(appFiles, "app/layout.html", "app/"+p+".html"); err != nil {
			return nil, fmt.Errorf("product: %w", err)
		}
	}
	a.mux.HandleFunc("GET "+base+"{$}", a.page("", "", a.overview))
	a.mux.HandleFunc("GET "+base+"documents", a.page("document:read", "documents", a.documents))
	a.mux.HandleFunc("GET "+base+"documents/{id}", a.page("document:read", "documents", a.document))
	a.mux.HandleFunc("POST "+base+"documents/{id}", a.page("document:write", "documents", a.rename))
	a.mux.HandleFunc("GET "+base+"team", a.page("team:read", "team", a.team))
	a.mux.HandleFunc("GET "+base+"billing", a.page("billing:read", "billing", a.billing))
	a.mux.HandleFunc("POST "+base+"billing/plan", a.page("plan:write", "billing", a.changePlan))
	a.mux.HandleFunc(base, a.page("", "", func(*visit) error { return governance.ErrNotFound }))
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
		return []string{"document:read", "document:write", "team:read", "billing:read", "plan:write"}
	case RoleMember:
		return []string{"document:read", "document:write", "team:read"}
	case RoleViewer:
		return []string{"document:read"}
	}
	return nil
}

// visit is one request of a user.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	session oversight.Session
	id      governance.Identity
	tenant  governance.TenantState
	here    string
}

// may tells whether the user holds a right and the session reaches it.
func (v *visit) may(right string) bool {
	return slices.ContainsFunc(v.id.Subject.Roles, func(role string) bool { return slices.Contains(rights(role), right) }) && oversight.Permits(v.r.Context(), right)
}

func (a *App) page(right, here string, fn func(v *visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		session, ok := oversight.FromContext(r.Context())
		id, _ := governance.IdentityFrom(r.Context())
		if !ok || id.Subject == nil {
			http.Error(w, "Nobody is signed in to the product. Staff open it from a tenant's page in the console.", http.StatusUnauthorized)
			return
		}
		v := &visit{w: w, r: r, session: session, id: id, here: here}
		var err error
		if v.tenant, err = a.svc.k.TenantState(r.Context(), session.Tenant); err == nil {
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

type acting struct {
	Actor, User, EndPath string
	Until                time.Time
	ReadOnly             bool
}

type navItem struct {
	Title, Href string
	Here        bool
}

type appPage struct {
	Title, Base, Note string
	CSS               template.CSS
	Tenant            governance.Tenant
	Acting            *acting
	Nav               []navItem
	Data              any
}

func (a *App) show(v *visit, status int, name, title, note string, data any) error {
	p := appPage{Title: title, Base: a.base, Note: note, CSS: a.css, Tenant: v.tenant.Tenant, Data: data,
		Acting: &acting{or(v.id.Actor.Name, v.id.Actor.ID), or(v.id.Subject.Name, v.id.Subject.ID), a.endPath, v.session.ExpiresAt, v.session.Scope != oversight.ReadWrite}}
	for _, n := range []struct{ right, title, path string }{{"", "Overview", ""}, {"document:read", "Documents", "documents"}, {"team:read", "Team", "team"}, {"billing:read", "Billing", "billing"}} {
		if n.right == "" || v.may(n.right) {
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

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fail answers with a page that says what went wrong, and nothing of the inside.
func (a *App) fail(v *visit, err error) {
	var denied *governance.DeniedError
	var invalid *governance.InvalidError
	status, title, text := http.StatusInternalServerError, "Something went wrong", "The page could not be made."
	switch {
	case errors.As(err, &denied):
		status, title, text = http.StatusForbidden, "Not allowed", denied.Reason
	case errors.As(err, &invalid):
		status, title, text = http.StatusUnprocessableEntity, "That does not work", invalid.Error()
	case errors.Is(err, governance.ErrNotFound):
		status, title, text = http.StatusNotFound, "Not found", "There is no such page."
	case errors.Is(err, governance.ErrConflict):
		status, title, text = http.StatusConflict, "Changed meanwhile", "Somebody changed it before you. Look again and repeat."
	default:
		a.svc.k.Logger().ErrorContext(v.r.Context(), "product page", "tenant", v.session.Tenant, "error", err)
	}
	if a.show(v, status, "message", title, "", text) != nil {
		http.Error(v.w, text, status)
	}
}

func (a *App) overview(v *visit) error {
	users, documents, err := a.svc.Counts(v.r.Context(), v.session.Tenant)
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
	docs, err := a.svc.Documents(v.r.Context(), v.session.Tenant, 100)
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
	doc, err := a.svc.Document(v.r.Context(), v.session.Tenant, v.r.PathValue("id"))
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
	if err := a.svc.Rename(v.r.Context(), v.id, v.session.Tenant, v.r.PathValue("id"), strings.TrimSpace(v.r.PostFormValue("title")), version); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, a.base+"documents?done=renamed", http.StatusSeeOther)
	return nil
}

func (a *App) team(v *visit) error {
	users, err := a.svc.Users(v.r.Context(), v.session.Tenant, 200)
	if err != nil {
		return err
	}
	return a.show(v, http.StatusOK, "team", "Team", "", users)
}

func (a *App) billing(v *visit) error { return a.showBilling(v, http.StatusOK, "") }

func (a *App) showBilling(v *visit, status int, note string) error {
	sub, err := a.svc.Subscription(v.r.Context(), v.session.Tenant)
	if err != nil {
		return err
	}
	credits, err := a.svc.Credits(v.r.Context(), v.session.Tenant, [16]byte{}, 20)
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
	_, err := a.svc.ChangePlan(v.r.Context(), v.id, v.session.Tenant, v.r.PostFormValue("plan"), &governance.DoOptions{Reason: "As the customer: " + v.session.Reason, Ticket: v.session.Ticket})
	var held *governance.ApprovalRequiredError
	switch {
	case errors.As(err, &held):
		return a.showBilling(v, http.StatusAccepted, "The change waits for approval.")
	case err != nil:
		return err
	}
	return a.showBilling(v, http.StatusOK, "The plan was changed.")
}
