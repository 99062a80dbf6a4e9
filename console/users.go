package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
)

// Users is the pages of package govauth: people, invitations, keys, and one's own
// account. [SignIn] is how they get in.
func Users(svc *govauth.Service) Section {
	p := userPages{svc}
	return Section{
		Name: "users",
		Nav: []NavItem{
			{Group: GroupAdmin, Order: 10, Title: "Users", Path: "/users", Icon: "users", Permission: "user:read"},
			{Group: GroupAdmin, Order: 90, Title: "Your account", Path: "/me", Icon: "user"},
		},
		Routes: []Route{
			{Pattern: "GET /users", Permission: "user:read", Page: p.list},
			{Pattern: "GET /users/invite", Permission: "user:write", Page: p.inviteForm},
			{Pattern: "POST /users/invite", Permission: "user:write", Post: p.invite, Back: p.inviteForm},
			{Pattern: "GET /users/invitations", Permission: "user:read", Page: p.invitations},
			{Pattern: "POST /users/invitations/{id}/link", Permission: "user:write", Serve: p.invitationLink},
			{Pattern: "POST /users/invitations/{id}/revoke", Permission: "user:write", Post: p.revokeInvitation},
			{Pattern: "GET /users/keys", Permission: "user:read", Page: p.keys},
			{Pattern: "GET /users/keys/new", Permission: "key:write", Page: p.keyForm},
			{Pattern: "POST /users/keys/new", Permission: "key:write", Post: p.createKey, Back: p.keyForm},
			{Pattern: "POST /users/keys/{id}/show", Anyone: true, Serve: p.showKey},
			{Pattern: "POST /users/keys/{id}/revoke", Anyone: true, Post: p.revokeKey},
			{Pattern: "POST /users/links/{id}/show", Permission: "user:write", Serve: p.showLink},
			{Pattern: "GET /users/{id}", Permission: "user:read", Page: p.detail},
			{Pattern: "POST /users/{id}/roles", Permission: "user:write", Post: p.setRoles, Back: p.detail},
			{Pattern: "POST /users/{id}/deactivate", Permission: "user:write", Post: p.deactivate},
			{Pattern: "POST /users/{id}/activate", Permission: "user:write", Post: p.activate},
			{Pattern: "POST /users/{id}/signin-link", Permission: "user:write", Post: p.signInLink},
			{Pattern: "GET /me", Anyone: true, Page: p.me},
			{Pattern: "POST /me/code", Anyone: true, Serve: p.newCode},
			{Pattern: "POST /me/sessions/{id}/end", Anyone: true, Post: p.endSession},
		},
		Stories: userStories(),
	}
}

type userPages struct{ svc *govauth.Service }

func userTabs(here string) []Tab {
	tabs := []Tab{{Title: "People", Href: "/users"}, {Title: "Invitations", Href: "/users/invitations"}, {Title: "Keys", Href: "/users/keys"}}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == here
	}
	return tabs
}

const usersPerPage = 50

type userListPage struct {
	Rows  []govauth.User
	Alert *Alert
	Pager Pager
	Empty Empty
}

func (p userPages) list(c *Ctx) (View, error) {
	id, name, _ := strings.Cut(c.Query("cursor"), "|") // the last one of the page before
	rows, err := p.svc.Users(c.Context(), govauth.UserFilter{AfterName: name, AfterID: governance.PersonID(id), Limit: usersPerPage + 1})
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(rows) > usersPerPage {
		rows = rows[:usersPerPage]
		next = string(rows[usersPerPage-1].ID) + "|" + rows[usersPerPage-1].Name
	}
	page := userListPage{Rows: rows, Pager: c.Pager(next), Empty: Empty{Icon: "users", Title: "Nobody here", Text: "People come by invitation."}}
	active, approvers, err := p.svc.People(c.Context())
	if err != nil {
		return View{}, err
	}
	if approvers < 2 {
		page.Alert = approverAlert(active, approvers)
	}
	return userListView(c, page), nil
}

// approverAlert warns before nobody can approve anything any more.
func approverAlert(active, approvers int) *Alert {
	a := &Alert{Tone: ToneWarn, Title: "Fewer than two people may approve"}
	a.Text = "Nobody approves their own request, so a change of roles asked for by the only approver, or by anybody without one, waits for ever. " +
		"Give the role gov_approver to two people"
	if active < 3 {
		a.Text += " before the third person accepts: bootstrap mode ends then"
	}
	a.Text += ". Now there is " + map[int]string{0: "none", 1: "one"}[approvers] + "."
	return a
}

func userListView(c *Ctx, page userListPage) View {
	v := View{Title: "Users", Lead: "Who may sign in, and with which roles.", Tabs: userTabs("/users"), Template: "users_list", Data: page}
	if c.Can("user:write") {
		v.Actions = []Button{{Text: "Invite", Icon: "plus", Href: "/users/invite", Kind: "primary"}}
	}
	return v
}

// roleChoice is one checkbox of a role.
type roleChoice struct {
	Role, About string
	Checked     bool
}

func roleAbout(role string) string {
	switch role {
	case govauth.RoleSuperAdmin:
		return "everything, within the policies"
	case govauth.RoleApprover:
		return "decides about held actions; reads most things"
	case govauth.RoleAuditor:
		return "reads everything, changes nothing"
	case govauth.RoleFinanceViewer:
		return "revenue and nothing else"
	case govauth.RoleCSAgent:
		return "tenants: plans, credits, impersonation"
	}
	return ""
}

// roleChoices ticks what was sent, when the form came back, else what is.
func roleChoices(c *Ctx, now []string) []roleChoice {
	if c.R != nil && c.R.Method == http.MethodPost {
		now = c.FormAll("roles")
	}
	var out []roleChoice
	for _, r := range govauth.PersonRoles() {
		out = append(out, roleChoice{r, roleAbout(r), slices.Contains(now, r)})
	}
	return out
}

func faultOf(c *Ctx, field string) string {
	for _, e := range c.errs {
		if e.Field == field {
			return e.Reason
		}
	}
	return ""
}

type rolesField struct {
	Choices []roleChoice
	Error   string
}

type invitePage struct {
	Name, Email, Region, Reason Field
	Roles                       rolesField
}

func (p userPages) inviteForm(c *Ctx) (View, error) { return inviteView(c), nil }

func inviteView(c *Ctx) View {
	return View{Title: "Invite somebody", Narrow: true, Crumbs: []Crumb{{"Users", "/users"}, {"Invite", ""}}, Template: "users_invite",
		Lead: "You get a link to hand over yourself; no mail is sent. It works once, for seven days.",
		Data: invitePage{
			Name:   c.Field(Field{Name: "name", Label: "Name", Required: true, MaxLen: 100, Autocomplete: "off"}),
			Email:  c.Field(Field{Name: "email", Label: "E-mail address", Kind: "email", Required: true, MaxLen: 200, Autocomplete: "off"}),
			Region: c.Field(Field{Name: "region", Label: "Region", MaxLen: 100, Hint: "Limits what they may do to tenants of this region."}),
			Reason: c.Field(Field{Name: "reason", Label: "Reason", Kind: "textarea", MaxLen: 2000}),
			Roles:  rolesField{roleChoices(c, nil), faultOf(c, "roles")}}}
}

func (p userPages) invite(c *Ctx) (Done, error) {
	out, err := p.svc.Invite(c.Context(), c.Identity, govauth.Invite{Name: c.Form("name"), Email: c.Form("email"), Roles: c.FormAll("roles"), Region: c.Form("region")}, userOptions(c))
	return Done{To: "/users/invitations", Flash: bootstrapNote("The invitation is open. Make its link and hand it over.", out)}, err
}

// userOptions is the options of an action that a form asks for.
func userOptions(c *Ctx) *governance.DoOptions {
	return &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")}
}

func bootstrapNote(text string, out governance.Outcome) string {
	if out.Bootstrap {
		return text + " It was not held: bootstrap mode."
	}
	return text
}

type invitationRow struct {
	govauth.Invitation
	By    string
	Late  bool
	Mine  bool
	Close Button
}

type invitationListPage struct {
	Rows  []invitationRow
	Write bool
	Pager Pager
	Empty Empty
}

func (p userPages) invitations(c *Ctx) (View, error) {
	list, err := p.svc.Invitations(c.Context(), govauth.InvitationFilter{Before: governance.PersonID(c.Query("cursor")), Limit: usersPerPage + 1})
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(list) > usersPerPage {
		list = list[:usersPerPage]
		next = string(list[usersPerPage-1].ID)
	}
	page := invitationListPage{Write: c.Can("user:write"), Pager: c.Pager(next), Empty: Empty{Icon: "users", Title: "No invitation", Text: "Whom you invite is here until they accept."}}
	names := people(c)
	for _, inv := range list {
		page.Rows = append(page.Rows, newInvitationRow(inv, names(governance.Actor{Person: inv.InvitedBy}), c.Identity.Actor.Person, c.Kernel().Now()))
	}
	return invitationListView(c, page), nil
}

func newInvitationRow(inv govauth.Invitation, by string, me governance.PersonID, now time.Time) invitationRow {
	return invitationRow{Invitation: inv, By: by, Late: inv.State == govauth.InvitationOpen && !inv.ExpiresAt.After(now), Mine: me != "" && inv.InvitedBy == me,
		Close: Button{Text: "Revoke", Post: "/users/invitations/" + string(inv.ID) + "/revoke", Kind: "quiet"}}
}

func invitationListView(c *Ctx, page invitationListPage) View {
	v := View{Title: "Users", Lead: "Who was asked to come, and has not yet.", Tabs: userTabs("/users/invitations"), Template: "users_invitations", Data: page}
	if c.Can("user:write") {
		v.Actions = []Button{{Text: "Invite", Icon: "plus", Href: "/users/invite", Kind: "primary"}}
	}
	return v
}

type oncePage struct {
	Text, Secret, Note, Back string
	Until                    time.Time
}

func onceView(title string, crumb Crumb, page oncePage) View {
	page.Back = crumb.Href
	return View{Title: title, Narrow: true, Crumbs: []Crumb{crumb, {title, ""}}, Template: "users_once", Data: page}
}

// whole is the address with scheme and host, as the person's browser sees them.
func whole(c *Ctx, address string) string {
	u, err := url.Parse(address)
	if err != nil || u.IsAbs() {
		return address
	}
	u.Scheme, u.Host = "http", c.R.Host
	if c.R.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

func (p userPages) invitationLink(c *Ctx, _ http.ResponseWriter) error {
	l, err := p.svc.InvitationLink(c.Context(), c.Identity, governance.PersonID(c.Path("id")))
	if err != nil {
		return err
	}
	c.Render(onceView("Invitation link", Crumb{"Invitations", "/users/invitations"}, oncePage{Text: "Hand this over to the person you invited, by a way only they read.", Secret: whole(c, l.URL), Until: l.ExpiresAt,
		Note: "It is shown only now. Making another one ends this one."}))
	return nil
}

func (p userPages) revokeInvitation(c *Ctx) (Done, error) {
	return Done{To: "/users/invitations", Flash: "The invitation is closed."}, p.svc.RevokeInvitation(c.Context(), c.Identity, governance.PersonID(c.Path("id")))
}

type keyLine struct {
	govauth.Key
	Who    string
	State  string
	Show   bool
	Revoke Button
	May    bool
}

type keyListPage struct {
	Rows  []keyLine
	Pager Pager
	Empty Empty
}

// keyState says in a word whether a key works.
func keyState(k govauth.Key, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case !k.ExpiresAt.After(now):
		return "expired"
	case k.IssuedAt.IsZero():
		return "waiting"
	}
	return "active"
}

func keyLines(keys []govauth.Key, me governance.PersonID, write bool, now time.Time, name func(governance.PersonID) string) []keyLine {
	out := make([]keyLine, len(keys))
	for i, k := range keys {
		owner := k.Person
		if k.Kind == govauth.KeyShared {
			owner = k.CreatedBy
		}
		l := keyLine{Key: k, State: keyState(k, now), Revoke: Button{Text: "Revoke", Post: "/users/keys/" + k.ID + "/revoke", Kind: "quiet"}}
		l.Show = l.State == "waiting" && me != "" && owner == me
		l.May = (l.State == "waiting" || l.State == "active") && (write || me != "" && k.Person == me)
		if k.Person != "" {
			l.Who = name(k.Person)
		}
		out[i] = l
	}
	return out
}

func (p userPages) names(c *Ctx) func(governance.PersonID) string {
	names := people(c)
	return func(id governance.PersonID) string { return names(governance.Actor{Person: id}) }
}

func (p userPages) keys(c *Ctx) (View, error) {
	keys, err := p.svc.Keys(c.Context(), govauth.KeyFilter{Everybody: true, Before: c.Query("cursor"), Limit: usersPerPage + 1})
	if err != nil {
		return View{}, err
	}
	next := ""
	if len(keys) > usersPerPage {
		keys = keys[:usersPerPage]
		next = keys[usersPerPage-1].ID
	}
	return keyListView(c, keyListPage{Rows: keyLines(keys, c.Identity.Actor.Person, c.Can("key:write"), c.Kernel().Now(), p.names(c)), Pager: c.Pager(next), Empty: noKeys()}), nil
}

func noKeys() Empty {
	return Empty{Icon: "shield", Title: "No key", Text: "A key lets a program call the API: a personal one as its person, a shared one for look-ups of a helpdesk."}
}

func keyListView(c *Ctx, page keyListPage) View {
	v := View{Title: "Users", Lead: "What programs call the API with. A secret is shown once, and stored as a hash.", Tabs: userTabs("/users/keys"), Template: "users_keys", Data: page}
	if c.Can("key:write") {
		v.Actions = []Button{{Text: "New key", Icon: "plus", Href: "/users/keys/new", Kind: "primary"}}
	}
	return v
}

type keyFormPage struct{ Kind, Person, Name, Days Field }

func (p userPages) keyForm(c *Ctx) (View, error) {
	users, err := p.svc.Users(c.Context(), govauth.UserFilter{State: govauth.UserActive, Limit: 200})
	if err != nil {
		return View{}, err
	}
	return keyFormView(c, users), nil
}

func keyFormView(c *Ctx, users []govauth.User) View {
	who := Field{Name: "person", Label: "Whose key", Kind: "select", Hint: "Of a personal key. Only this person is shown the secret.", Value: string(c.Identity.Actor.Person)}
	for _, u := range users {
		who.Options = append(who.Options, Option{string(u.ID), u.Name})
	}
	return View{Title: "New key", Narrow: true, Crumbs: []Crumb{{"Users", "/users"}, {"Keys", "/users/keys"}, {"New", ""}}, Template: "users_key_new", Data: keyFormPage{
		Kind: c.Field(Field{Name: "kind", Label: "Kind", Kind: "select", Required: true, Options: []Option{
			{govauth.KeyPersonal, "Personal: acts as its person, with their roles"}, {govauth.KeyShared, "Shared: looks tenants up, stands for nobody"}}}),
		Person: c.Field(who),
		Name:   c.Field(Field{Name: "name", Label: "What for", Required: true, MaxLen: 100, Placeholder: "nightly export"}),
		Days: c.Field(Field{Name: "expires_at", Label: "Ends after", Kind: "select", Required: true, Value: "90", Options: []Option{
			{"7", "7 days"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "a year"}}})}}
}

func (p userPages) createKey(c *Ctx) (Done, error) {
	days, err := c.FormInt("expires_at")
	if err != nil || days < 1 || days > 365 {
		return Done{}, governance.Invalid("expires_at", "is between 1 and 365 days")
	}
	// By whole days, so that the same form sent twice is the same request.
	in := govauth.CreateKey{Kind: c.Form("kind"), Person: governance.PersonID(c.Form("person")), Name: c.Form("name"),
		ExpiresAt: c.Kernel().Now().Truncate(24*time.Hour).AddDate(0, 0, int(days))}
	if in.Kind == govauth.KeyShared {
		in.Person, in.Roles = "", []string{govauth.RoleSupportKey}
	}
	to := "/users/keys"
	if !c.Can("user:read") {
		to = "/me"
	}
	_, err = p.svc.CreateKey(c.Context(), c.Identity, in, userOptions(c))
	return Done{To: to, Flash: "The key is made. It works once its secret was shown."}, err
}

func (p userPages) showKey(c *Ctx, _ http.ResponseWriter) error {
	secret, err := p.svc.ShowKey(c.Context(), c.Identity, c.Path("id"))
	if err != nil {
		return err
	}
	back := Crumb{"Your account", "/me"}
	if c.Can("user:read") {
		back = Crumb{"Keys", "/users/keys"}
	}
	c.Render(onceView("Key secret", back, oncePage{Text: "Send it with each call, as Authorization: Bearer and this:", Secret: secret, Note: "It is shown only now. Whoever lost it revokes the key and makes another."}))
	return nil
}

func (p userPages) revokeKey(c *Ctx) (Done, error) {
	to := "/me"
	if c.Can("user:read") {
		to = "/users/keys"
	}
	return Done{To: to, Flash: "The key is revoked."}, p.svc.RevokeKey(c.Context(), c.Identity, c.Path("id"), c.Form("reason"))
}

type userPage struct {
	User     govauth.User
	Write    bool
	Facts    []Fact
	Roles    rolesField
	Reason   Field
	Sessions []govauth.Session
	Keys     []keyLine
	Waiting  []govauth.WaitingLink
	Lock     Button
	Link     Button
}

func (p userPages) detail(c *Ctx) (View, error) {
	u, err := p.svc.User(c.Context(), governance.PersonID(c.Path("id")))
	if err != nil {
		return View{}, err
	}
	page := userPage{User: u, Write: c.Can("user:write")}
	if page.Sessions, err = p.svc.Sessions(c.Context(), u.ID); err != nil {
		return View{}, err
	}
	keys, err := p.svc.Keys(c.Context(), govauth.KeyFilter{Person: u.ID})
	if err != nil {
		return View{}, err
	}
	names := p.names(c)
	page.Keys = keyLines(keys, c.Identity.Actor.Person, c.Can("key:write"), c.Kernel().Now(), names)
	if page.Write {
		waiting, err := p.svc.WaitingLinks(c.Context(), c.Identity)
		if err != nil {
			return View{}, err
		}
		page.Waiting = slices.DeleteFunc(waiting, func(l govauth.WaitingLink) bool { return l.Person != u.ID })
	}
	by := "the product"
	if u.InvitedBy != "" {
		by = names(u.InvitedBy)
	}
	return userView(c, page, by), nil
}

func userView(c *Ctx, page userPage, by string) View {
	u := page.User
	page.Facts = []Fact{{Label: "E-mail address", Value: u.Email}, {Label: "Region", Value: u.Region}, {Label: "Since", At: u.CreatedAt, Day: true}, {Label: "Invited by", Value: by}, {Label: "Id", Value: string(u.ID), Mono: true}}
	page.Roles = rolesField{roleChoices(c, u.Roles), faultOf(c, "roles")}
	page.Reason = c.Field(Field{Name: "reason", Label: "Reason", Kind: "textarea", MaxLen: 2000})
	at := "/users/" + string(u.ID)
	page.Lock = Button{Text: "Deactivate", Post: at + "/deactivate", Kind: "danger", Confirm: u.Name + " is signed out everywhere at once, and keys, links and open invitations of theirs end. Keys do not come back."}
	page.Link = Button{Text: "Make a sign-in link", Post: at + "/signin-link", Confirm: "Whoever holds it signs in as " + u.Name + ". An approver must agree, and an alert is raised."}
	if u.State == govauth.UserDeactivated {
		page.Facts = append(page.Facts, Fact{Label: "Deactivated", At: u.DeactivatedAt})
		page.Lock = Button{Text: "Activate", Post: at + "/activate", Confirm: "They may sign in again, with the roles shown here. An approver must agree."}
	}
	return View{Title: u.Name, Badge: string(u.State), Crumbs: []Crumb{{"Users", "/users"}, {u.Name, ""}}, Template: "users_detail", Data: page}
}

func (p userPages) person(c *Ctx) (governance.PersonID, string) {
	return governance.PersonID(c.Path("id")), "/users/" + c.Path("id")
}

func (p userPages) setRoles(c *Ctx) (Done, error) {
	id, to := p.person(c)
	out, err := p.svc.SetRoles(c.Context(), c.Identity, govauth.ChangeRoles{Person: id, Roles: c.FormAll("roles")}, userOptions(c))
	return Done{To: to, Flash: bootstrapNote("The roles are changed.", out)}, err
}

func (p userPages) deactivate(c *Ctx) (Done, error) {
	id, to := p.person(c)
	_, err := p.svc.Deactivate(c.Context(), c.Identity, govauth.Deactivate{Person: id}, userOptions(c))
	return Done{To: to, Flash: "Locked out, everywhere."}, err
}

func (p userPages) activate(c *Ctx) (Done, error) {
	id, to := p.person(c)
	out, err := p.svc.Activate(c.Context(), c.Identity, govauth.Activate{Person: id}, userOptions(c))
	return Done{To: to, Flash: bootstrapNote("Active again.", out)}, err
}

func (p userPages) signInLink(c *Ctx) (Done, error) {
	id, to := p.person(c)
	out, err := p.svc.MakeSignInLink(c.Context(), c.Identity, id, userOptions(c))
	return Done{To: to, Flash: bootstrapNote("The link is ready to be shown, below.", out)}, err
}

func (p userPages) showLink(c *Ctx, _ http.ResponseWriter) error {
	l, err := p.svc.ShowSignInLink(c.Context(), c.Identity, c.Path("id"))
	if err != nil {
		return err
	}
	c.Render(onceView("Sign-in link", Crumb{"Users", "/users"}, oncePage{Text: "Hand this over to the person it is for, by a way only they read.", Secret: whole(c, l.URL), Until: l.ExpiresAt, Note: "It is shown only now, and works once."}))
	return nil
}

type mePage struct {
	Facts    []Fact
	Roles    []string
	Keys     []keyLine
	Sessions []govauth.Session
	Code     Button
	Person   bool
}

func (p userPages) me(c *Ctx) (View, error) {
	a := c.Identity.Actor
	page := mePage{Roles: a.Roles, Person: a.Person != "" && c.Identity.Subject == nil}
	if page.Person {
		keys, err := p.svc.Keys(c.Context(), govauth.KeyFilter{Person: a.Person})
		if err != nil {
			return View{}, err
		}
		page.Keys = keyLines(keys, a.Person, c.Can("key:write"), c.Kernel().Now(), p.names(c))
		if page.Sessions, err = p.svc.Sessions(c.Context(), a.Person); err != nil {
			return View{}, err
		}
	}
	return meView(a, page), nil
}

func meView(a governance.Actor, page mePage) View {
	page.Facts = []Fact{{Label: "Signed in", At: a.AuthTime}, {Label: "Region", Value: a.Region}, {Label: "Id", Value: string(a.Person), Mono: true}}
	page.Code = Button{Text: "New sign-in code", Post: "/me/code", Confirm: "The code you have now stops working."}
	name := a.Name
	if name == "" {
		name = a.ID
	}
	return View{Title: name, Lead: "Your account, where you are signed in, and your keys.", Template: "users_me", Data: page}
}

func (p userPages) newCode(c *Ctx, _ http.ResponseWriter) error {
	code, err := p.svc.NewCode(c.Context(), c.Identity)
	if err != nil {
		return err
	}
	c.Render(onceView("Sign-in code", Crumb{"Your account", "/me"}, oncePage{Text: "You sign in with this from now on.", Secret: code, Note: "It is shown only now. Keep it in your password manager."}))
	return nil
}

func (p userPages) endSession(c *Ctx) (Done, error) {
	return Done{To: "/me", Flash: "Signed out there."}, p.svc.EndSession(c.Context(), c.Identity, c.Path("id"))
}

func userStories() []Story {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	c := storyCtx()
	users := []govauth.User{
		{ID: "0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f", Name: "Ada Lovelace", Email: "ada@example.com", Roles: []string{"super_admin"}, State: govauth.UserActive, CreatedAt: at},
		{ID: "0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e50", Name: strings.Repeat("A very long name ", 5), Email: strings.Repeat("long", 30) + "@example.com", Roles: govauth.PersonRoles(), Region: "eu", State: govauth.UserActive, InvitedBy: "ada", CreatedAt: at},
		{ID: "0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e51", Name: "Dan Gone", Email: "dan@example.com", Roles: []string{"cs_agent"}, State: govauth.UserDeactivated, CreatedAt: at, DeactivatedAt: at.AddDate(0, 0, 3)},
	}
	inv := func(state govauth.InvitationState, by string, days int) invitationRow {
		return newInvitationRow(govauth.Invitation{ID: governance.PersonID("i-" + string(state) + by), Name: "Eve", Email: "eve@example.com", Roles: []string{"gov_approver"}, State: state, InvitedBy: governance.PersonID(by),
			CreatedAt: at, ExpiresAt: at.AddDate(0, 0, days)}, by, "ada", at)
	}
	keys := keyLines([]govauth.Key{
		{ID: "00112233445566aa", Kind: govauth.KeyPersonal, Person: "ada", Name: "nightly export", CreatedAt: at, ExpiresAt: at.AddDate(0, 3, 0), IssuedAt: at, UsedAt: at.Add(time.Hour)},
		{ID: "00112233445566bb", Kind: govauth.KeyPersonal, Person: "ada", Name: "not shown yet", Roles: []string{"gov_auditor"}, CreatedAt: at, ExpiresAt: at.AddDate(0, 3, 0)},
		{ID: "00112233445566cc", Kind: govauth.KeyShared, Name: "helpdesk", Roles: []string{"support_key"}, CreatedAt: at, ExpiresAt: at.AddDate(0, 0, -1), IssuedAt: at},
		{ID: "00112233445566dd", Kind: govauth.KeyPersonal, Person: "dan", Name: "lost", CreatedAt: at, ExpiresAt: at.AddDate(0, 3, 0), IssuedAt: at, RevokedAt: at},
	}, "ada", true, at, func(p governance.PersonID) string { return string(p) })
	sessions := []govauth.Session{{ID: "aa", Method: "pwd", IP: "192.0.2.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) " + strings.Repeat("x", 120), CreatedAt: at, SeenAt: at, ExpiresAt: at.AddDate(0, 0, 7)}}
	bad := storyCtx()
	bad.errs = []FieldError{{"email", "is not an e-mail address"}, {"roles", "name at least one"}}
	actor := governance.Actor{ID: "user:ada", Person: "ada", Name: "Ada Lovelace", AuthTime: at, Roles: []string{"super_admin"}}
	empty := Empty{Icon: "users", Title: "Nobody here", Text: "People come by invitation."}
	return []Story{
		{Name: "users", View: userListView(c, userListPage{Rows: users, Pager: Pager{Next: "/users?cursor=x"}})},
		{Name: "users, right to left", View: userListView(c, userListPage{Rows: users}), RTL: true},
		{Name: "users, too few approvers", View: userListView(c, userListPage{Rows: users[:1], Alert: approverAlert(1, 0)})},
		{Name: "users, none", View: userListView(c, userListPage{Empty: empty})},
		{Name: "invite", View: inviteView(c)},
		{Name: "invite came back", View: inviteView(bad), Errors: bad.errs},
		{Name: "invitations", View: invitationListView(c, invitationListPage{Write: true, Rows: []invitationRow{inv(govauth.InvitationOpen, "ada", 5), inv(govauth.InvitationOpen, "bob", -1), inv(govauth.InvitationAccepted, "ada", 5), inv(govauth.InvitationRevoked, "ada", 5)}})},
		{Name: "invitations, none", View: invitationListView(c, invitationListPage{Empty: empty})},
		{Name: "link, shown once", View: onceView("Invitation link", Crumb{"Invitations", "/users/invitations"}, oncePage{Text: "Hand this over.", Secret: "https://reeve.example/console/signin/l_0011", Until: at, Note: "It is shown only now."})},
		{Name: "keys", View: keyListView(c, keyListPage{Rows: keys})},
		{Name: "keys, none", View: keyListView(c, keyListPage{Empty: noKeys()})},
		{Name: "key, new", View: keyFormView(c, users)},
		{Name: "user", View: userView(c, userPage{User: users[1], Write: true, Sessions: sessions, Keys: keys, Waiting: []govauth.WaitingLink{{ID: "aa", Until: at}}}, "Ada Lovelace")},
		{Name: "user, read only", View: userView(c, userPage{User: users[0]}, "the product")},
		{Name: "user, deactivated", View: userView(c, userPage{User: users[2], Write: true}, "Ada Lovelace")},
		{Name: "account", View: meView(actor, mePage{Roles: actor.Roles, Keys: keys, Sessions: sessions, Person: true})},
		{Name: "account of a shared key", View: meView(governance.Actor{ID: "key:00112233445566cc", AuthTime: at}, mePage{Roles: []string{"support_key"}})},
	}
}
