package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
)

// Passkeys is the page of one's own security keys, and what the form of a vote asks to
// have it signed.
func Passkeys(svc *passkey.Service) Section {
	p := passkeyPages{svc}
	return Section{
		Name: "passkeys",
		Nav:  []NavItem{{Group: GroupAdmin, Order: 91, Title: "Security keys", Path: "/passkeys", Icon: "key"}},
		Routes: []Route{
			{Pattern: "GET /passkeys", Anyone: true, Page: p.list},
			{Pattern: "POST /passkeys", Anyone: true, Post: p.register, Back: p.list},
			{Pattern: "POST /passkeys/options", Anyone: true, Serve: p.options},
			{Pattern: "POST /passkeys/vote-options", Permission: "approval:vote", Serve: p.voteOptions},
			{Pattern: "POST /passkeys/{id}/revoke", Anyone: true, Post: p.revoke, Back: p.list},
		},
		Stories: passkeyStories(),
	}
}

type passkeyPages struct{ svc *passkey.Service }

type passkeyLine struct {
	passkey.Key
	State string
}

type passkeyPage struct {
	Rows  []passkeyLine
	Alert *Alert
	May   bool // register one
	Name  Field
	Empty Empty
}

func (p passkeyPages) list(c *Ctx) (View, error) {
	if c.Identity.Actor.Person == "" || c.Identity.Subject != nil {
		return View{}, &governance.DeniedError{Action: "passkey.list", Rule: "person", Reason: "only a person who is signed in has security keys"}
	}
	keys, err := p.svc.Keys(c.Context(), c.Identity.Actor.Person)
	if err != nil {
		return View{}, err
	}
	site, err := p.svc.Site()
	page := newPasskeyPage(c, keys)
	page.Alert, page.May = passkeyAlert(site, err, c.R.Host, p.svc.Fresh(c.Identity))
	return passkeyView(page), nil
}

// passkeyAlert says why no key can be registered here and now.
func passkeyAlert(site passkey.Site, bad error, host string, fresh bool) (*Alert, bool) {
	if bad != nil {
		return &Alert{Tone: ToneWarn, Title: "Security keys do not work on this server", Text: "Its address is an IP address, and browsers use no security keys on those. Whoever runs it sets public_url to an https address with a name."}, false
	}
	here := false
	for _, o := range site.Origins {
		_, at, _ := strings.Cut(o, "://")
		here = here || at == host
	}
	if !here {
		return &Alert{Tone: ToneWarn, Title: "Open this page at " + site.Origins[0], Text: "Security keys work there alone. You are at " + host + ", and have to sign in there once more."}, false
	}
	if !fresh {
		return &Alert{Tone: ToneInfo, Title: "Sign in again to register a key", Text: "Your sign-in is older than five minutes. Sign out, and in again: so nobody who finds your browser open adds a key of theirs."}, false
	}
	return nil, true
}

func newPasskeyPage(c *Ctx, keys []passkey.Key) passkeyPage {
	page := passkeyPage{
		Name:  c.Field(Field{Name: "name", Label: "Name", Hint: "How you tell it from others: \"blue key on my ring\".", Required: true, MaxLen: 100, Autocomplete: "off"}),
		Empty: Empty{Icon: "key", Title: "No security key", Text: "Where a policy wants votes signed, you vote for an action with a key that is registered here."},
	}
	for _, k := range keys {
		l := passkeyLine{Key: k, State: "active"}
		if !k.RevokedAt.IsZero() {
			l.State = "revoked"
		}
		if k.Compromised {
			l.State = "compromised"
		}
		page.Rows = append(page.Rows, l)
	}
	return page
}

func passkeyView(page passkeyPage) View {
	return View{Title: "Security keys", Lead: "With them you sign votes, so that anybody can check later that it was you.", Crumbs: []Crumb{{"Your account", "/me"}, {"Security keys", ""}}, Template: "passkeys", Data: page}
}

func (p passkeyPages) register(c *Ctx) (Done, error) {
	answer := c.Form("assertion")
	if answer == "" {
		return Done{}, governance.Invalid("name", "could not be used: the browser did not ask a security key, which needs JavaScript")
	}
	_, err := p.svc.FinishEnrol(c.Context(), c.Identity, c.Form("name"), json.RawMessage(answer))
	return Done{To: "/passkeys", Flash: "The key is registered."}, err
}

func (p passkeyPages) revoke(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	err = p.svc.Revoke(c.Context(), c.Identity, passkey.Revoke{Key: id, Reason: c.Form("reason"), Retired: c.Form("retired") != ""})
	return Done{To: "/passkeys", Flash: "The key works no more."}, err
}

func (p passkeyPages) options(c *Ctx, w http.ResponseWriter) error {
	raw, err := p.svc.BeginEnrol(c.Context(), c.Identity)
	return answerScript(w, raw, err)
}

func (p passkeyPages) voteOptions(c *Ctx, w http.ResponseWriter) error {
	if err := c.parseForm(0); err != nil {
		return answerScript(w, nil, err)
	}
	id, err := uuid.Parse(c.Form("approval"))
	if err != nil {
		return answerScript(w, nil, governance.ErrNotFound)
	}
	raw, err := p.svc.BeginVote(c.Context(), c.Identity, id, governance.VoteDecision(c.Form("decision")), governance.Digest(c.Form("digest")))
	return answerScript(w, raw, err)
}

// answerScript gives a script of ours JSON, and what is wrong in a line it can show.
func answerScript(w http.ResponseWriter, raw json.RawMessage, err error) error {
	var denied *governance.DeniedError
	var invalid *governance.InvalidError
	status, why := http.StatusOK, ""
	switch {
	case err == nil:
	case errors.As(err, &denied):
		status, why = http.StatusForbidden, denied.Reason
	case errors.As(err, &invalid):
		status, why = http.StatusUnprocessableEntity, invalid.Reason
	case errors.Is(err, governance.ErrConflict), errors.Is(err, governance.ErrNotFound):
		status, why = http.StatusConflict, "It has changed meanwhile. Load the page again."
	default:
		return err
	}
	if why != "" {
		if raw, err = json.Marshal(map[string]string{"error": why}); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
	return nil
}

func passkeyStories() []Story {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	c := storyCtx()
	keys := []passkey.Key{
		{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Name: "Blue key on my ring", Site: "reeve.example.com", CreatedAt: at, UsedAt: at.AddDate(0, 0, 3)},
		{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e50"), Name: strings.Repeat("A long name ", 8), Site: "reeve.example.com", Synced: true, CreatedAt: at},
		{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e51"), Name: "The one I lost", Site: "reeve.example.com", CreatedAt: at, RevokedAt: at.AddDate(0, 1, 0), Compromised: true},
		{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e52"), Name: "The old one", Site: "reeve.example.com", CreatedAt: at, RevokedAt: at.AddDate(0, 1, 0)},
	}
	page := func(keys []passkey.Key, site passkey.Site, bad error, host string, fresh bool) View {
		p := newPasskeyPage(c, keys)
		p.Alert, p.May = passkeyAlert(site, bad, host, fresh)
		return passkeyView(p)
	}
	site := passkey.SiteOf("https://reeve.example.com")
	came := storyCtx()
	came.errs = []FieldError{{"name", "is required, at most 100 printable characters"}}
	back := newPasskeyPage(came, keys[:1])
	back.May = true
	return []Story{
		{Name: "security keys", View: page(keys, site, nil, "reeve.example.com", true)},
		{Name: "security keys, none", View: page(nil, site, nil, "reeve.example.com", true)},
		{Name: "security keys, sign-in too old, right to left", View: page(keys, site, nil, "reeve.example.com", false), RTL: true},
		{Name: "security keys, at another address", View: page(nil, passkey.SiteOf("http://127.0.0.1:8080"), nil, "127.0.0.1:8080", true)},
		{Name: "security keys, none can work", View: page(nil, passkey.Site{}, governance.ErrNotFound, "192.0.2.1", true)},
		{Name: "security keys, form came back", View: passkeyView(back), Errors: came.errs},
	}
}
