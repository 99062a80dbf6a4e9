package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
)

// SignIn is the pages by which people get in and out: the sign-in code, one-time
// links, signing out.
func SignIn(svc *govauth.Service) Section {
	p := signInPages{svc}
	return Section{
		Name: "signin",
		Routes: []Route{
			{Pattern: "GET /signin", Public: true, Page: p.form},
			{Pattern: "POST /signin", Public: true, Serve: p.code},
			{Pattern: "GET /signin/{token}", Public: true, Page: p.link},
			{Pattern: "POST /signin/{token}", Public: true, Serve: p.useLink},
			{Pattern: "POST /signout", Public: true, Serve: p.out},
		},
		Stories: signInStories(),
	}
}

type signInPages struct{ svc *govauth.Service }

type signInPage struct {
	Code Field
	Next string
}

func signInView(c *Ctx, next string) View {
	return View{Title: "Sign in", Bare: true, Template: "signin", Data: signInPage{Next: next,
		Code: c.Field(Field{Name: "code", Label: "Sign-in code", Kind: "password", Required: true, MaxLen: 200, Autocomplete: "current-password",
			Hint: "You were shown it when you accepted your invitation."})}}
}

func (p signInPages) form(c *Ctx) (View, error) { return signInView(c, c.Query("next")), nil }

func (p signInPages) code(c *Ctx, w http.ResponseWriter) error {
	if err := c.parseForm(0); err != nil {
		return err
	}
	in, err := p.svc.SignIn(c.Context(), c.Form("code"), p.svc.Origin(c.R))
	var denied *governance.DeniedError
	switch {
	case errors.Is(err, govauth.ErrUnauthenticated):
		c.errs = []FieldError{{"code", "is not valid"}}
	case errors.As(err, &denied):
		c.errs = []FieldError{{"code", "is not valid: " + denied.Reason}}
	case err != nil:
		return err
	default:
		p.svc.SetCookie(w, in)
		http.Redirect(w, c.R, localPath(c, c.Form("next")), http.StatusSeeOther)
		return nil
	}
	v := signInView(c, c.Form("next"))
	v.Status = http.StatusUnauthorized
	c.Render(v)
	return nil
}

// localPath is where a sign-in goes on: an address of this console, or its home. A
// link from elsewhere must not send a person who has just signed in to a look-alike.
func localPath(c *Ctx, next string) string {
	u, err := url.Parse(next)
	base := c.Base()
	if err != nil || u.IsAbs() || u.Host != "" || strings.ContainsAny(next, "\\\r\n\t") || strings.HasPrefix(next, "//") ||
		!strings.HasPrefix(u.Path, strings.TrimSuffix(base, "/")+"/") || strings.Contains(u.Path, "/signin") {
		return base
	}
	return u.RequestURI()
}

type signInLinkPage struct {
	Path  string
	First bool
	Guest bool // accepts an invitation
	Name  string
	Roles []string
	Facts []Fact
}

func (p signInPages) link(c *Ctx) (View, error) {
	info, err := p.svc.PeekLink(c.Context(), c.Path("token"))
	if v, dead := deadLinkView(err); dead {
		return v, nil
	}
	if err != nil {
		return View{}, err
	}
	return signInLinkView("/signin/"+c.Path("token"), info), nil
}

func signInLinkView(path string, info govauth.LinkInfo) View {
	page := signInLinkPage{Path: path, First: info.Kind == govauth.LinkFirstRun, Guest: info.Kind == govauth.LinkInvitation, Name: info.Name, Roles: info.Roles,
		Facts: []Fact{{Label: "Works until", At: info.ExpiresAt}}}
	v := View{Title: "Sign in as " + info.Name, Bare: true, Template: "signin_link", Data: page}
	switch info.Kind {
	case govauth.LinkInvitation:
		v.Title = "Welcome, " + info.Name
	case govauth.LinkFirstRun:
		v.Title = "Set up this server"
	}
	return v
}

type signInDeadPage struct{ Why string }

// deadLinkView is the page of a link that does not work.
func deadLinkView(err error) (View, bool) {
	v := View{Title: "This link does not work", Bare: true, Template: "signin_dead", Status: http.StatusGone}
	var denied *governance.DeniedError
	switch {
	case errors.Is(err, govauth.ErrUnauthenticated):
		v.Status, v.Data = http.StatusNotFound, signInDeadPage{"it is not complete, or was never made here"}
	case errors.As(err, &denied):
		v.Data = signInDeadPage{denied.Reason}
		if denied.Rule == "loopback" {
			v.Status = http.StatusForbidden
		}
	default:
		return v, false
	}
	return v, true
}

type signInCodePage struct{ Code string }

func (p signInPages) useLink(c *Ctx, w http.ResponseWriter) error {
	in, err := p.svc.UseLink(c.Context(), c.Path("token"), p.svc.Origin(c.R))
	if v, dead := deadLinkView(err); dead {
		c.Render(v)
		return nil
	}
	if err != nil {
		return err
	}
	p.svc.SetCookie(w, in)
	if in.Code == "" {
		http.Redirect(w, c.R, c.Base(), http.StatusSeeOther)
		return nil
	}
	c.Render(signInCodeView(in.Code))
	return nil
}

// signInCodeView shows a code the one time that it is shown.
func signInCodeView(code string) View {
	return View{Title: "Keep your sign-in code", Bare: true, Template: "signin_code", Data: signInCodePage{code}}
}

func (p signInPages) out(c *Ctx, w http.ResponseWriter) error {
	if err := p.svc.SignOut(c.Context(), c.R); err != nil {
		return err
	}
	p.svc.ClearCookie(w)
	http.Redirect(w, c.R, c.URL("/signin"), http.StatusSeeOther)
	return nil
}

func signInStories() []Story {
	at := time.Date(2026, 11, 2, 10, 15, 0, 0, time.UTC)
	bad := storyCtx()
	bad.errs = []FieldError{{"code", "is not valid"}}
	used, _ := deadLinkView(&governance.DeniedError{Rule: "link", Reason: "the link was used already"})
	far, _ := deadLinkView(&governance.DeniedError{Rule: "loopback", Reason: "the first-run link works from the server's own machine only"})
	wrong, _ := deadLinkView(govauth.ErrUnauthenticated)
	return []Story{
		{Name: "sign in", View: signInView(storyCtx(), "")},
		{Name: "sign in, wrong code", View: signInView(bad, "/console/tenants"), Errors: bad.errs},
		{Name: "first run", View: signInLinkView("/signin/x", govauth.LinkInfo{Kind: govauth.LinkFirstRun, Name: "Ada", ExpiresAt: at})},
		{Name: "invitation", View: signInLinkView("/signin/x", govauth.LinkInfo{Kind: govauth.LinkInvitation, Name: "Eve", Roles: []string{"gov_approver", "gov_auditor"}, ExpiresAt: at})},
		{Name: "sign-in link", View: signInLinkView("/signin/x", govauth.LinkInfo{Kind: govauth.LinkSignIn, Name: "Ada", ExpiresAt: at})},
		{Name: "link, used", View: used},
		{Name: "link, unknown", View: wrong},
		{Name: "link, from another machine", View: far},
		{Name: "code, shown once", View: signInCodeView("reevein_0011223344556677_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ")},
	}
}
