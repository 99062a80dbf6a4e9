package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// maxPackUpload is the largest pack that the console checks.
const maxPackUpload = 64 << 20

// Evidence is the pages of package evidence: choosing what a pack is about, building,
// downloading and checking packs, and the coverage report.
func Evidence(svc *evidence.Service) Section {
	p := evidencePages{svc}
	return Section{
		Name: "evidence",
		Nav:  []NavItem{{Group: GroupOversight, Order: 45, Title: "Evidence", Path: "/evidence", Icon: "shield", Permission: evidence.PermissionRead}},
		Routes: []Route{
			{Pattern: "GET /evidence", Permission: evidence.PermissionRead, Page: p.list},
			{Pattern: "GET /evidence/new", Permission: evidence.PermissionBuild, Page: p.form},
			{Pattern: "POST /evidence/new", Permission: evidence.PermissionBuild, Post: p.build, Back: p.form},
			{Pattern: "POST /evidence/verify", Permission: evidence.PermissionRead, Serve: p.verify, MaxBody: maxPackUpload + 1<<20},
			{Pattern: "GET /evidence/packs/{id}", Permission: evidence.PermissionRead, Page: p.detail},
			{Pattern: "GET /evidence/packs/{id}/file", Permission: evidence.PermissionRead, Serve: p.download},
			{Pattern: "GET /evidence/coverage", Permission: evidence.PermissionRead, Page: p.coverage},
			{Pattern: "GET /evidence/coverage/{key}", Permission: evidence.PermissionRead, Page: p.line},
			{Pattern: "GET /evidence/reports/{form}", Permission: evidence.PermissionRead, Serve: p.report},
		},
		Stories: evidenceStories(),
	}
}

type evidencePages struct{ svc *evidence.Service }

// has tells whether the console has a section, for links from one to another.
func (x *Ctx) has(section string) bool {
	if x.con == nil {
		return false
	}
	for _, s := range x.con.sections {
		if s.Name == section {
			return true
		}
	}
	return false
}

// evidenceButton leads from a session or an action to the form of a pack about it.
func evidenceButton(c *Ctx, kind string, id uuid.UUID) []Button {
	if !c.has("evidence") || !c.Can(evidence.PermissionBuild) {
		return nil
	}
	return []Button{{Text: "Build evidence", Icon: "shield", Href: "/evidence/new?kind=" + kind + "&subject=" + id.String()}}
}

type packListPage struct {
	Rows   []evidence.Pack
	Upload Field
	Report *packReport
	Build  bool
	Pager  Pager
	Empty  Empty
}

type packReport struct {
	pack.Report
	Facts []Fact
}

func (p evidencePages) list(c *Ctx) (View, error) {
	page, err := p.newList(c)
	return packListView(page), err
}

func packListView(page packListPage) View {
	v := View{Title: "Evidence", Lead: "Everything about one session or one action in a file that an auditor checks without this server.", Template: "evidence_list", Data: page,
		Actions: []Button{{Text: "Coverage report", Href: "/evidence/coverage", Icon: "chart"}}}
	if page.Build {
		v.Actions = append(v.Actions, Button{Text: "Build a pack", Href: "/evidence/new", Kind: "primary", Icon: "plus"})
	}
	return v
}

func (p evidencePages) newList(c *Ctx) (packListPage, error) {
	page := packListPage{Build: c.Can(evidence.PermissionBuild), Upload: packUpload(c),
		Empty: Empty{Icon: "shield", Title: "No pack was built yet", Text: "A pack holds the decision, the payload, the votes, the recording and their ledger records with proofs."}}
	f := evidence.Filter{Limit: 50}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return page, governance.ErrNotFound
		}
	}
	if page.Rows, err = p.svc.Packs(c.Context(), c.Identity, f); err != nil {
		return page, err
	}
	next := ""
	if len(page.Rows) == f.Limit {
		next = page.Rows[len(page.Rows)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	return page, nil
}

func packUpload(c *Ctx) Field {
	return c.Field(Field{Name: "file", Label: "Pack", Kind: "file", Required: true, Hint: "A file ending in .evidence.zip, at most 64 MiB. It is checked and not kept."})
}

// verify checks a pack that was sent, by the log's key alone.
func (p evidencePages) verify(c *Ctx, _ http.ResponseWriter) error {
	if err := c.parseForm(maxPackUpload + 1<<20); err != nil {
		return err
	}
	f, head, err := c.R.FormFile("file")
	if err != nil {
		c.errs = []FieldError{{"file", "is required"}}
		page, err := p.newList(c)
		if err != nil {
			return err
		}
		v := packListView(page)
		v.Status = http.StatusUnprocessableEntity
		c.Render(v)
		return nil
	}
	defer func() { _ = f.Close() }()
	if head.Size > maxPackUpload {
		return governance.Invalid("file", "is larger than 64 MiB: use server evidence verify")
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read the pack: %w", err)
	}
	rep, err := p.svc.Verify(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	page, err := p.newList(c)
	if err != nil {
		return err
	}
	page.Report = newPackReport(rep)
	c.Render(packListView(page))
	return nil
}

func newPackReport(rep pack.Report) *packReport {
	out := &packReport{Report: rep}
	if rep.ID == "" {
		return out
	}
	out.Facts = []Fact{{Label: "About", Value: Humanize(rep.Subject.Kind) + " " + rep.Subject.ID, Mono: true}, {Label: "Built", At: rep.MadeAt}, {Label: "By", Value: rep.MadeBy, Mono: true},
		{Label: "Files", Value: FormatInt(int64(rep.Files))}, {Label: "Records proven", Value: FormatInt(int64(rep.Records))}, {Label: "Votes", Value: FormatInt(int64(rep.Votes))},
		{Label: "Chunks", Value: FormatInt(int64(rep.Chunks))}, {Label: "Log", Value: rep.Log, Mono: true}, {Label: "Witnesses", Value: FormatInt(int64(len(rep.Cosigned))) + " checked, " + FormatInt(int64(len(rep.Unknown))) + " unknown"}}
	return out
}

type packChoice struct {
	Kind, ID, Title, Meta, State string
	At                           time.Time
}

type packFormPage struct {
	Outline  *evidence.Outline
	Facts    []Fact
	Fields   []Field
	Sessions []packChoice
	Actions  []packChoice
	Find     []Field
}

func (p evidencePages) form(c *Ctx) (View, error) {
	kind, id := c.Query("kind"), c.Query("subject")
	if kind == "" {
		kind, id = c.Form("kind"), c.Form("subject")
	}
	if id == "" {
		page, err := p.choices(c)
		return packChooseView(page), err
	}
	subject, err := uuid.Parse(id)
	if err != nil {
		return View{}, governance.ErrNotFound
	}
	o, err := p.svc.Outline(c.Context(), c.Identity, evidence.Request{Kind: kind, Subject: subject})
	if err != nil {
		return View{}, err
	}
	return packFormView(newPackForm(c, o)), nil
}

func newPackForm(c *Ctx, o evidence.Outline) packFormPage {
	page := packFormPage{Outline: &o}
	page.Facts = []Fact{{Label: Humanize(o.Kind), Value: o.Name}, {Label: "Id", Value: o.Subject.String(), Mono: true}, {Label: "Tenant", Value: string(o.Tenant)},
		{Label: "Actions", Value: FormatInt(int64(o.Actions))}, {Label: "Votes", Value: FormatInt(int64(o.Votes))}, {Label: "Policies", Value: FormatInt(int64(o.Policies))},
		{Label: "Ledger records", Value: FormatInt(int64(o.Records))}, {Label: "Alerts", Value: FormatInt(int64(o.Alerts))}}
	if o.Kind == pack.KindSession {
		page.Facts = append(page.Facts, Fact{Label: "Recording", Value: plural(o.Chunks, "chunk", "chunks") + ", " + FormatBytes(o.ChunkBytes)})
	}
	if o.Missing > 0 {
		page.Facts = append(page.Facts, Fact{Label: "Missing chunks", Value: FormatInt(int64(o.Missing))})
	}
	page.Facts = append(page.Facts, Fact{Label: "Personal values kept", Value: FormatInt(int64(o.Personal))}, Fact{Label: "Personal values erased", Value: FormatInt(int64(o.Erased))})
	page.Fields = []Field{c.Field(Field{Name: "reason", Label: "Why it is built", Kind: "textarea", Required: true, MaxLen: 500, Hint: "Stands in the pack and in the ledger."})}
	if o.Kind == pack.KindSession {
		page.Fields = append(page.Fields, c.Field(Field{Name: "no_recording", Label: "Leave the recording out", Kind: "checkbox", Hint: "Its hashes are in the pack anyway."}))
	}
	if c.Can(evidence.PermissionDisclose) {
		page.Fields = append(page.Fields, c.Field(Field{Name: "disclose", Label: "Put personal values in", Kind: "checkbox", Hint: "Names and addresses, where they are still kept. Otherwise their digests stand for them."}))
	}
	return page
}

func packFormView(page packFormPage) View {
	return View{Title: "Build a pack", Lead: "Building it is written down, and so is each download.", Template: "evidence_form", Data: page,
		Crumbs: []Crumb{{"Evidence", "/evidence"}, {"Choose", "/evidence/new"}, {ShortID(page.Outline.Subject.String()), ""}}}
}

func packChooseView(page packFormPage) View {
	return View{Title: "What is the pack about?", Template: "evidence_choose", Data: page, Crumbs: []Crumb{{"Evidence", "/evidence"}, {"Choose", ""}}}
}

// choices lists the newest sessions and actions.
func (p evidencePages) choices(c *Ctx) (packFormPage, error) {
	page := packFormPage{Find: packFind()}
	if c.Can(oversight.PermissionRead) {
		recent, err := p.svc.RecentSessions(c.Context(), 15)
		if err != nil {
			return page, err
		}
		for _, s := range recent {
			page.Sessions = append(page.Sessions, packChoice{pack.KindSession, s.ID.String(), actorName(s.Actor) + " as " + s.User, s.Reason, string(s.State), s.CreatedAt})
		}
	}
	if c.Can("approval:read") {
		recent, err := c.Kernel().Actions(c.Context(), governance.ActionFilter{Limit: 15})
		if err != nil {
			return page, err
		}
		for _, a := range recent {
			page.Actions = append(page.Actions, packChoice{pack.KindAction, a.ID.String(), Humanize(a.Action), actorName(a.Requester), string(a.State), a.CreatedAt})
		}
	}
	return page, nil
}

func packFind() []Field {
	return []Field{{Name: "kind", Label: "About", Kind: "select", Required: true, Options: []Option{{pack.KindSession, "A session"}, {pack.KindAction, "An action or approval"}}},
		{Name: "subject", Label: "Id", Required: true, Mono: true, MaxLen: 36, Placeholder: "0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"}}
}

func (p evidencePages) build(c *Ctx) (Done, error) {
	subject, err := uuid.Parse(c.Form("subject"))
	if err != nil {
		return Done{}, governance.ErrNotFound
	}
	got, err := p.svc.Build(c.Context(), c.Identity, evidence.Request{Kind: c.Form("kind"), Subject: subject, Reason: c.Form("reason"), Disclose: c.Form("disclose") != "", NoRecording: c.Form("no_recording") != ""})
	if errors.Is(err, evidence.ErrUnsealed) {
		return Done{To: "/evidence", Flash: "The ledger did not sign in time. Nothing is wrong with the data: build it again.", Tone: ToneWarn}, nil
	}
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/evidence/packs/" + got.ID.String(), Flash: "The pack is built and holds."}, nil
}

type packPage struct {
	P     evidence.Pack
	Facts []Fact
	Ready bool
	Key   string
}

func (p evidencePages) detail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	got, err := p.svc.Pack(c.Context(), c.Identity, id)
	if err != nil {
		return View{}, err
	}
	return packDetailView(newPackPage(got, c.Kernel().Ledger().VerifierKey())), nil
}

func newPackPage(x evidence.Pack, key string) packPage {
	page := packPage{P: x, Ready: x.State == evidence.StateReady, Key: key}
	href := map[string]string{pack.KindSession: "/sessions/", pack.KindAction: ""}[x.Kind]
	if href != "" {
		href += x.Subject.String()
	}
	page.Facts = []Fact{{Label: Humanize(x.Kind), Value: x.Name, Href: href}, {Label: "Id", Value: x.Subject.String(), Mono: true}, {Label: "Tenant", Value: string(x.Tenant)}, {Label: "Reason", Value: x.Reason},
		{Label: "Built", At: x.MadeAt}, {Label: "By", Value: x.MadeBy, Mono: true}, {Label: "Kept until", At: x.ExpiresAt}, {Label: "Records", Value: FormatInt(x.Records)}, {Label: "Files", Value: FormatInt(x.Files)},
		{Label: "Size", Value: FormatBytes(x.Bytes)}, {Label: "Personal values", Value: FormatInt(int64(x.Disclosed))}, {Label: "SHA-256", Value: x.SHA256, Mono: true},
		{Label: "Ledger record", Value: x.Record.String(), Href: "/ledger/" + x.Record.String(), Mono: true}}
	return page
}

func packDetailView(page packPage) View {
	return View{Title: "Pack about " + Humanize(page.P.Name), Badge: string(page.P.State), Template: "evidence_pack", Data: page, Crumbs: []Crumb{{"Evidence", "/evidence"}, {ShortID(page.P.ID.String()), ""}}}
}

func (p evidencePages) download(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	got, data, err := p.svc.Download(c.Context(), c.Identity, id)
	if err != nil {
		return err
	}
	return attach(w, "application/zip", got.FileName(), data)
}

func attach(w http.ResponseWriter, typ, name string, data []byte) error {
	h := w.Header()
	h.Set("Content-Type", typ)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, err := w.Write(data)
	return err
}

type coverageLine struct {
	evidence.CoverageRow
	Href, Other string // those that have it, those that lack it
	Good        bool
}

type coveragePage struct {
	C       *evidence.Coverage
	Fields  []Field
	Lines   []coverageLine
	Reports []Button
}

// period reads the days of the report; until is the last day, itself in it.
func reportPeriod(c *Ctx) (from, until time.Time, fields []Field, err error) {
	now := c.Kernel().Now()
	fields = []Field{{Name: "from", Label: "From", Kind: "date", Required: true, Value: c.Query("from")}, {Name: "until", Label: "Up to and including", Kind: "date", Required: true, Value: c.Query("until")}}
	if fields[0].Value == "" {
		fields[0].Value = now.AddDate(0, 0, -29).Format(time.DateOnly)
	}
	if fields[1].Value == "" {
		fields[1].Value = now.Format(time.DateOnly)
	}
	var errs [2]error
	if from, errs[0] = time.Parse(time.DateOnly, fields[0].Value); errs[0] != nil {
		return from, until, fields, governance.Invalid("from", "is not a day")
	}
	if until, errs[1] = time.Parse(time.DateOnly, fields[1].Value); errs[1] != nil {
		return from, until, fields, governance.Invalid("until", "is not a day")
	}
	return from, until.AddDate(0, 0, 1), fields, nil
}

func periodQuery(fields []Field) string {
	return "from=" + url.QueryEscape(fields[0].Value) + "&until=" + url.QueryEscape(fields[1].Value)
}

func (p evidencePages) coverage(c *Ctx) (View, error) {
	from, until, fields, err := reportPeriod(c)
	if err != nil {
		return View{}, err
	}
	got, err := p.svc.Coverage(c.Context(), c.Identity, from, until)
	if err != nil {
		return View{}, err
	}
	return coverageView(newCoveragePage(got, fields)), nil
}

func newCoveragePage(got evidence.Coverage, fields []Field) coveragePage {
	q := periodQuery(fields)
	page := coveragePage{C: &got, Fields: fields}
	for _, form := range []string{"html", "csv", "json"} {
		page.Reports = append(page.Reports, Button{Text: "Download " + map[string]string{"html": "HTML", "csv": "CSV", "json": "JSON"}[form], Icon: "download", Href: "/evidence/reports/" + form + "?" + q})
	}
	for _, r := range got.Rows {
		at := "/evidence/coverage/" + r.Key + "?" + q
		page.Lines = append(page.Lines, coverageLine{r, at + "&have=true", at + "&have=false", r.Falls() == 0})
	}
	return page
}

func coverageView(page coveragePage) View {
	return View{Title: "Coverage", Lead: "What the ledger's records carry of what each control asks for: counted, and each number leads to its records.", Template: "evidence_coverage", Data: page, Actions: page.Reports,
		Crumbs: []Crumb{{"Evidence", "/evidence"}, {"Coverage", ""}}}
}

type coverageRecordsPage struct {
	Row   evidence.CoverageRow
	Have  bool
	Rows  []governance.RecordView
	Pager Pager
	Links bool
	Empty Empty
}

func (p evidencePages) line(c *Ctx) (View, error) {
	from, until, fields, err := reportPeriod(c)
	if err != nil {
		return View{}, err
	}
	after := uuid.Nil
	if cur := c.Query("cursor"); cur != "" {
		if after, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	page := coverageRecordsPage{Have: c.Query("have") != "false", Links: c.Can("ledger:read"), Empty: Empty{Icon: "check", Title: "No record is among these"}}
	if page.Rows, page.Row, err = p.svc.CoverageRecords(c.Context(), c.Identity, from, until, c.Path("key"), page.Have, after, 50); err != nil {
		return View{}, err
	}
	next := ""
	if len(page.Rows) == 50 {
		next = page.Rows[49].ID.String()
	}
	page.Pager = c.Pager(next)
	return coverageRecordsView(page, periodQuery(fields)), nil
}

func coverageRecordsView(page coverageRecordsPage, period string) View {
	lead := "Records where " + page.Row.Rule + "."
	if !page.Have {
		lead = "Records where it is not so that " + page.Row.Rule + "."
	}
	return View{Title: page.Row.Framework + " " + page.Row.Control + ": " + page.Row.Field, Lead: lead, Template: "evidence_records", Data: page,
		Crumbs: []Crumb{{"Evidence", "/evidence"}, {"Coverage", "/evidence/coverage?" + period}, {page.Row.Field, ""}}}
}

func (p evidencePages) report(c *Ctx, w http.ResponseWriter) error {
	forms := map[string]struct {
		typ    string
		render func(evidence.Coverage) ([]byte, error)
	}{"html": {"text/html; charset=utf-8", evidence.Coverage.HTML}, "csv": {"text/csv; charset=utf-8", evidence.Coverage.CSV},
		"json": {"application/json", func(x evidence.Coverage) ([]byte, error) { return json.MarshalIndent(x, "", "  ") }}}
	form, ok := forms[c.Path("form")]
	if !ok {
		return governance.ErrNotFound
	}
	from, until, fields, err := reportPeriod(c)
	if err != nil {
		return err
	}
	got, err := p.svc.Coverage(c.Context(), c.Identity, from, until)
	if err != nil {
		return err
	}
	b, err := form.render(got)
	if err != nil {
		return err
	}
	return attach(w, form.typ, "coverage-"+fields[0].Value+"-"+fields[1].Value+"."+c.Path("form"), b)
}
