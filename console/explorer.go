package console

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/ledger"
)

// Explorer is the pages behind the ledger's list: verifications, exports, witnesses,
// sinks, keys, and whom personal values are kept about.
func Explorer(svc *explorer.Service) Section {
	p := explorerPages{svc}
	return Section{
		Name: "explorer",
		Routes: []Route{
			{Pattern: "GET /integrity", Permission: explorer.PermissionRead, Page: p.overview},
			{Pattern: "POST /integrity/checks", Permission: explorer.PermissionRead, Post: p.verify},
			{Pattern: "GET /integrity/checks/{id}", Permission: explorer.PermissionRead, Page: p.check},
			{Pattern: "GET /integrity/export", Permission: explorer.PermissionRead, Page: p.exports},
			{Pattern: "POST /integrity/export", Permission: explorer.PermissionRead, Serve: p.export},
			{Pattern: "GET /integrity/subjects", Permission: explorer.PermissionRead, Page: p.subjects},
			{Pattern: "GET /integrity/erase", Permission: explorer.PermissionErase, Page: p.eraseForm},
			{Pattern: "POST /integrity/erase", Permission: explorer.PermissionErase, Post: p.erase, Back: p.eraseForm},
		},
		Stories: explorerStories(),
	}
}

type explorerPages struct{ svc *explorer.Service }

func integrityTabs(here string) []Tab {
	tabs := []Tab{{Title: "State", Href: "/integrity"}, {Title: "Export", Href: "/integrity/export"}, {Title: "Personal values", Href: "/integrity/subjects"}}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == here
	}
	return tabs
}

func integrityView(title, lead, here, tpl string, data any) View {
	return View{Title: title, Lead: lead, Crumbs: []Crumb{{"Ledger", "/ledger"}, {title, ""}}, Tabs: integrityTabs(here), Template: tpl, Data: data}
}

type integrityPage struct {
	explorer.State
	Checks []checkView
	Open   bool // one waits or runs
	None   Empty
}

type checkView struct {
	explorer.Verification
	Word string // for the status pill
}

func newCheckView(v explorer.Verification) checkView {
	word := v.State
	if v.State == explorer.Done {
		word = "verified"
		if len(v.Problems) > 0 {
			word = "error"
		}
	}
	return checkView{v, word}
}

func (p explorerPages) overview(c *Ctx) (View, error) {
	st, err := p.svc.State(c.Context(), c.Identity, 10)
	if err != nil {
		return View{}, err
	}
	vs, err := p.svc.Verifications(c.Context(), c.Identity, uuid.Nil, 10)
	return integrityOverview(newIntegrityPage(st, vs)), err
}

func newIntegrityPage(st explorer.State, vs []explorer.Verification) integrityPage {
	page := integrityPage{State: st, None: Empty{Icon: "shield", Title: "It was not verified from here yet", Text: "A verification recomputes the tree from the records, compares it with every signature, and looks for acts without a record."}}
	for _, v := range vs {
		page.Checks = append(page.Checks, newCheckView(v))
		page.Open = page.Open || v.State == explorer.Waiting || v.State == explorer.Running
	}
	return page
}

func integrityOverview(p integrityPage) View {
	return integrityView("Integrity", "What vouches for the ledger: verifications, witnesses, places its checkpoints are published to, and its keys.", "/integrity", "integrity", p)
}

func (p explorerPages) verify(c *Ctx) (Done, error) {
	v, err := p.svc.Verify(c.Context(), c.Identity)
	return Done{To: "/integrity/checks/" + v.ID.String(), Flash: "The verification was asked for. It goes on when you leave this page."}, err
}

func (p explorerPages) check(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	v, err := p.svc.Verification(c.Context(), c.Identity, id)
	return checkPage(v, people(c)(governance.Actor{ID: v.AskedBy, Person: personOf(v.AskedBy)})), err
}

type checkDetail struct {
	checkView
	Facts []Fact
}

func checkPage(v explorer.Verification, who string) View {
	d := checkDetail{checkView: newCheckView(v), Facts: []Fact{{Label: "Asked by", Value: who}, {Label: "Asked", At: v.AskedAt}, {Label: "Began", At: v.StartedAt}, {Label: "Ended", At: v.EndedAt}}}
	if v.State == explorer.Done {
		d.Facts = append(d.Facts, Fact{Label: "Records", Value: FormatInt(v.Records)}, Fact{Label: "Checkpoints", Value: FormatInt(v.Checkpoints)}, Fact{Label: "Not sealed yet", Value: FormatInt(v.Unsealed)})
	}
	return View{Title: "Verification", Badge: d.Word, Crumbs: []Crumb{{"Ledger", "/ledger"}, {"Integrity", "/integrity"}, {ShortID(v.ID.String()), ""}}, Template: "integrity_check", Data: d}
}

type exportPage struct {
	From, Tenant, TenantFrom, Witnesses Field
	Key                                 string
}

func (p explorerPages) exports(c *Ctx) (View, error) {
	return exportView(newExportPage(c, p.svc.Kernel().Ledger().VerifierKey())), nil
}

func newExportPage(c *Ctx, key string) exportPage {
	page := exportPage{Key: key,
		From:       Field{Name: "from", Label: "After how many records", Kind: "number", Min: "0", Value: "0", Required: true, Hint: "The size of a checkpoint that you kept"},
		Tenant:     Field{Name: "tenant", Label: "Tenant", MaxLen: 128, Hint: "Its id; empty takes the records of no tenant"},
		TenantFrom: Field{Name: "tenant_from", Label: "After the checkpoint of", Kind: "number", Min: "0", Value: "0", Required: true, Hint: "0 begins at the first record"},
		Witnesses:  Field{Name: "witnesses", Label: "Signed by at least so many witnesses", Kind: "number", Min: "0", Value: "0", Required: true},
	}
	for _, f := range []*Field{&page.From, &page.Tenant, &page.TenantFrom, &page.Witnesses} {
		if c != nil && c.R.PostForm.Has(f.Name) { // the other forms of the page were not sent
			*f = c.Field(*f)
		}
	}
	return page
}

func exportView(p exportPage) View {
	return integrityView("Export the ledger", "Files that anybody checks with the verification key, without this server. Each export is itself a record, with the digest of the file.", "/integrity/export", "integrity_export", p)
}

// export makes the file and sends it. It is a POST, because it is work and leaves a
// record.
func (p explorerPages) export(c *Ctx, w http.ResponseWriter) error {
	if err := c.parseForm(0); err != nil {
		return err
	}
	e := explorer.Export{Kind: c.Form("kind")}
	var err error
	number := func(name string) (n int64) {
		if err == nil {
			n, err = c.FormInt(name)
		}
		return n
	}
	switch e.Kind {
	case explorer.Whole:
		e.Witnesses = int(number("witnesses"))
	case explorer.Since:
		e.From = number("from")
	case explorer.Tenant:
		e.Tenant, e.From = governance.TenantID(c.Form("tenant")), number("tenant_from")
	}
	if err != nil {
		return p.exportAgain(c, e, err)
	}
	f, err := p.svc.Export(c.Context(), c.Identity, e)
	if err != nil {
		return p.exportAgain(c, e, err)
	}
	defer func() { _ = f.Close() }()
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", f.Name))
	h.Set("Cache-Control", "no-store")
	h.Set("Digest", "sha-256="+f.SHA256)
	_, _ = io.Copy(w, f) // a reader that went away misses bytes of the length it was told
	return nil
}

// exportAgain is the forms with what is wrong with the one that was sent.
func (p explorerPages) exportAgain(c *Ctx, e explorer.Export, err error) error {
	field := map[string]string{explorer.Whole: "witnesses", explorer.Since: "from", explorer.Tenant: "tenant_from"}[e.Kind]
	if errors.Is(err, governance.ErrNotFound) && field != "" {
		err = governance.Invalid(field, "%s", map[string]string{explorer.Whole: "is more than signed any checkpoint that is here",
			explorer.Since: "is more than the ledger has sealed", explorer.Tenant: "is the size of no checkpoint that is here"}[e.Kind])
	}
	c.errs = fieldErrors(err)
	if len(c.errs) == 0 {
		return err
	}
	for i := range c.errs {
		if c.errs[i].Field == "from" && e.Kind == explorer.Tenant {
			c.errs[i].Field = field
		}
	}
	v := exportView(newExportPage(c, p.svc.Kernel().Ledger().VerifierKey()))
	v.Status = http.StatusUnprocessableEntity
	c.Render(v)
	return nil
}

type subjectsPage struct {
	Q        Field
	Rows     []ledger.SubjectKeys
	Erasures []erasureView
	MayErase bool
	Pager    Pager
	Empty    Empty
	NoneGone Empty
}

type erasureView struct {
	explorer.Erasure
	Who string
}

func (p explorerPages) subjects(c *Ctx) (View, error) {
	page := newSubjectsPage()
	page.Q.Value, page.MayErase = c.Query("q"), c.Can(explorer.PermissionErase)
	rows, err := p.svc.Subjects(c.Context(), c.Identity, page.Q.Value, c.Query("cursor"), 50)
	if err != nil {
		return View{}, err
	}
	page.Rows = rows
	if len(rows) == 50 {
		page.Pager = c.Pager(rows[49].Subject)
	} else {
		page.Pager = c.Pager("")
	}
	gone, err := p.svc.Erasures(c.Context(), c.Identity, uuid.Nil, 50)
	if err != nil {
		return View{}, err
	}
	names := people(c)
	for _, e := range gone {
		page.Erasures = append(page.Erasures, erasureView{e, names(e.Actor)})
	}
	if page.Q.Value != "" {
		page.Empty = Empty{Icon: "search", Title: "Nobody begins like this", Text: "Names are exact: person: and an id, or what the record of an act names.", Action: &Button{Text: "Clear", Href: "/integrity/subjects"}}
	}
	return subjectsView(page), nil
}

func newSubjectsPage() subjectsPage {
	return subjectsPage{Q: Field{Name: "q", Label: "Begins with", Kind: "search", Placeholder: "person:"},
		Empty:    Empty{Icon: "user", Title: "No personal value is kept", Text: "Names and addresses of those who act will be kept under keys of theirs."},
		NoneGone: Empty{Icon: "cross", Title: "Nothing was erased yet"}}
}

func subjectsView(p subjectsPage) View {
	return integrityView("Personal values", "Whom the ledger keeps text about, each under keys of their own. Destroying the keys erases every copy and breaks no proof.", "/integrity/subjects", "integrity_subjects", p)
}

// EraseLink leads to the form that erases one subject.
func (p subjectsPage) EraseLink(subject string) string {
	return "/integrity/erase?subject=" + url.QueryEscape(subject)
}

type erasePage struct {
	Of     ledger.SubjectKeys
	Fields []Field
}

func (p explorerPages) eraseForm(c *Ctx) (View, error) {
	subject := c.Query("subject")
	if c.R.Method == http.MethodPost {
		subject = c.Form("subject")
	}
	if subject == "" || len(subject) > 300 {
		return View{}, governance.ErrNotFound
	}
	of, err := p.svc.Subject(c.Context(), c.Identity, subject)
	return eraseView(newErasePage(c, of)), err
}

func newErasePage(c *Ctx, of ledger.SubjectKeys) erasePage {
	page := erasePage{Of: of, Fields: []Field{
		{Name: "basis", Label: "Basis", Required: true, MaxLen: 500, Hint: "Why they may or must be erased, such as the number of a request. It stays in the ledger for ever: name nobody."},
		{Name: "reason", Label: "Reason", Kind: "textarea", MaxLen: 2000, Hint: "For whoever has to approve it."},
	}}
	if c != nil {
		for i := range page.Fields {
			page.Fields[i] = c.Field(page.Fields[i])
		}
	}
	return page
}

func eraseView(p erasePage) View {
	return View{Title: "Erase personal values", Crumbs: []Crumb{{"Ledger", "/ledger"}, {"Personal values", "/integrity/subjects"}, {"Erase", ""}}, Template: "integrity_erase", Data: p, Narrow: true}
}

func (p explorerPages) erase(c *Ctx) (Done, error) {
	_, err := p.svc.Kernel().Erase(c.Context(), c.Identity, governance.Erasure{Subject: c.Form("subject"), Basis: c.Form("basis")}, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	return Done{To: "/integrity/subjects", Flash: "Erased. Backups from before hold the keys until the last of them is gone."}, err
}

func explorerStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	key := "reeve.test+1234abcd+" + strings.Repeat("Ab3/", 11)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	st := explorer.State{Origin: "reeve.test", Key: key, Checkpoint: &ledger.Checkpoint{Size: 4182, Note: "reeve.test\n4182\nq83v\n", At: at},
		Witnesses: []explorer.Place{{Name: "witness.example/w1", Key: "witness.example/w1+aa+bb", Address: "https://witness.example", State: explorer.Current, Size: 4182, At: at, Times: 97},
			{Name: strings.Repeat("long.", 20), Address: "https://slow.example", State: explorer.Late, Size: 4000, Lag: 182, At: at, Behind: 47 * time.Minute, Times: 3}, {Name: "new", Address: "https://new.example", State: explorer.Never, Lag: 4182}},
		Sinks:       []explorer.Place{{Name: "file:/var/log/reeve/checkpoints", State: explorer.Current, Size: 4182, At: at}, {Name: "webhook:https://old.example", State: explorer.Removed, Size: 12, Lag: 4170, At: at}},
		Checkpoints: []ledger.CosignedSize{{Size: 4182, At: at, Witnesses: []string{"w1"}}, {Size: 4170, At: at}},
		Keys:        []ledger.KeyUse{{Key: "reeve.test+00+old", Until: 900, Ended: at, Next: "rotated"}, {Key: key, Since: 900, Until: -1}}}
	done := explorer.Verification{ID: id, AskedBy: "user:dana", AskedAt: at, State: explorer.Done, StartedAt: at, EndedAt: at.Add(time.Minute), Records: 4182, Checkpoints: 97}
	bad := done
	bad.Problems = []string{"record 0192 (leaf 7) is not what was sealed", "action without record: " + strings.Repeat("x", 300) + " <b>"}
	waiting := explorer.Verification{ID: id, AskedBy: "user:dana", AskedAt: at, State: explorer.Waiting}
	failed := explorer.Verification{ID: id, AskedBy: "user:dana", AskedAt: at, State: explorer.Failed, StartedAt: at, EndedAt: at, Error: "the ledger could not be read to its end"}
	subjects := newSubjectsPage()
	full := subjects
	full.MayErase = true
	full.Rows = []ledger.SubjectKeys{{Subject: "person:dana", Keys: 2, Values: 41, Since: at}, {Subject: "customer:" + strings.Repeat("long", 40), Since: at, Destroyed: at}}
	full.Erasures = []erasureView{{explorer.Erasure{RecordView: governance.RecordView{ID: id, At: at, ActionID: id.String()}, Values: 41, Basis: "DSR-7 <b>", Subject: "customer:olga"}, "Dana Weiss"}}
	return []Story{
		{Name: "integrity, first use", View: integrityOverview(newIntegrityPage(explorer.State{Key: key, Keys: st.Keys[1:]}, nil))},
		{Name: "integrity, every state", View: integrityOverview(newIntegrityPage(st, []explorer.Verification{waiting, done, bad, failed}))},
		{Name: "integrity, right to left", View: integrityOverview(newIntegrityPage(st, []explorer.Verification{done})), RTL: true},
		{Name: "verification, waiting", View: checkPage(waiting, "Dana Weiss")},
		{Name: "verification, holds", View: checkPage(done, "Dana Weiss")},
		{Name: "verification, does not hold", View: checkPage(bad, "Dana Weiss")},
		{Name: "verification, failed", View: checkPage(failed, "Dana Weiss")},
		{Name: "ledger export", View: exportView(newExportPage(nil, key))},
		{Name: "personal values, none", View: subjectsView(subjects)},
		{Name: "personal values, rows", View: subjectsView(full)},
		{Name: "erase, values there", View: eraseView(newErasePage(nil, full.Rows[0]))},
		{Name: "erase, nothing left", View: eraseView(newErasePage(nil, full.Rows[1]))},
	}
}
