package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

func ledgerSection() Section {
	return Section{
		Name: "ledger",
		Nav:  []NavItem{{Group: GroupOversight, Order: 40, Title: "Ledger", Path: "/ledger", Also: []string{"/integrity"}, Icon: "ledger", Permission: "ledger:read"}},
		Routes: []Route{
			{Pattern: "GET /ledger", Permission: "ledger:read", Page: ledgerList},
			{Pattern: "POST /ledger/verify", Permission: "ledger:read", Serve: ledgerVerify},
			{Pattern: "GET /ledger/{id}", Permission: "ledger:read", Page: ledgerRecord},
			{Pattern: "GET /ledger/{id}/proof.json", Permission: "ledger:read", Serve: ledgerProof},
		},
		Search:  []SearchSource{{Permission: "ledger:read", Find: findRecord}},
		Stories: ledgerStories(),
	}
}

type recordRow struct {
	governance.RecordView
	N          int64
	Who        string
	For        string
	TenantName string
}

type ledgerPage struct {
	Rows       []recordRow
	Q, Tenant  Field
	Pager      Pager
	Empty      Empty
	Checkpoint *ledger.Checkpoint
	Report     *ledger.Report
	Key        string
}

func ledgerList(c *Ctx) (View, error) {
	page, err := newLedgerPage(c)
	return ledgerPageView(c, page), err
}

func ledgerPageView(c *Ctx, page ledgerPage) View {
	v := ledgerView(page)
	if c.has("explorer") {
		v.Actions = []Button{{Text: "Integrity", Href: "/integrity", Icon: "shield"}, {Text: "Export", Href: "/integrity/export", Icon: "download"}}
	}
	return v
}

func ledgerView(page ledgerPage) View {
	return View{Title: "Ledger", Lead: "What was done, by whom and for whom. Records are sealed into a signed tree: none can be changed or removed unseen.", Template: "ledger_list", Data: page}
}

func newLedgerPage(c *Ctx) (ledgerPage, error) {
	q, tenant := c.Query("q"), c.Query("tenant")
	page := ledgerPage{
		Q:      Field{Name: "q", Label: "Contains", Kind: "search", Value: q, Placeholder: "Action, person, id, any word"},
		Tenant: Field{Name: "tenant", Label: "Tenant", Value: tenant},
		Empty:  Empty{Icon: "ledger", Title: "Nothing is recorded yet", Text: "Every change and every decision will stand here."},
		Key:    c.Kernel().Ledger().VerifierKey(),
	}
	if q+tenant != "" {
		page.Empty = Empty{Icon: "search", Title: "No record matches", Text: "Search looks for the exact words, as they are written in the record.", Action: &Button{Text: "Clear filters", Href: "/ledger"}}
	}
	f := ledger.Filter{Tenant: tenant, AllTenants: tenant == "", Search: q, Limit: 50}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return page, governance.ErrNotFound
		}
	}
	if err := c.Kernel().LogRead(c.Context(), c.Identity, "records"); err != nil {
		return page, err
	}
	rs, err := c.Kernel().Ledger().Records(c.Context(), f)
	if err != nil {
		return page, err
	}
	names := people(c)
	for _, r := range rs {
		page.Rows = append(page.Rows, newRecordRow(c, r, names))
	}
	next := ""
	if int64(len(rs)) == f.Limit {
		next = rs[len(rs)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	cp, err := c.Kernel().Ledger().Checkpoint(c.Context())
	if err == nil {
		page.Checkpoint = &cp
	} else if !errors.Is(err, ledger.ErrNotFound) {
		return page, err
	}
	return page, nil
}

// people resolves names, each person once.
func people(c *Ctx) func(a governance.Actor) string {
	known := map[governance.PersonID]string{}
	return func(a governance.Actor) string {
		if a.Name != "" || a.Person == "" {
			return cmp.Or(a.Name, strings.TrimPrefix(a.ID, "system:"))
		}
		name, ok := known[a.Person]
		if !ok {
			name = string(a.Person)
			if p, err := c.Kernel().Directory().Resolve(c.Context(), a.Person); err == nil && p.Name != "" {
				name = p.Name
			}
			known[a.Person] = name
		}
		return name
	}
}

// personOf is the person whose account an event names; accounts of people are
// "user:" and their id in the reference server.
func personOf(actor string) governance.PersonID {
	id, ok := strings.CutPrefix(actor, "user:")
	if !ok {
		return ""
	}
	return governance.PersonID(id)
}

func newRecordRow(c *Ctx, r ledger.Record, names func(governance.Actor) string) recordRow {
	v, err := governance.ReadRecord(r.Body)
	if err != nil { // another program's record: what the ledger itself knows
		v = governance.RecordView{ID: r.ID, At: r.At, Action: r.Kind, Tenant: governance.TenantID(r.Tenant), Data: r.Body}
	}
	row := recordRow{RecordView: v, N: r.N, Who: names(v.Actor), TenantName: tenantName(c, v.Tenant)}
	if v.Subject != nil {
		row.For = names(*v.Subject)
	}
	return row
}

// ledgerVerify recomputes the tree and shows what it found. It changes nothing; it is
// a POST because it is work.
func ledgerVerify(c *Ctx, _ http.ResponseWriter) error {
	if err := c.Kernel().LogRead(c.Context(), c.Identity, "verification"); err != nil {
		return err
	}
	rep, err := c.Kernel().Ledger().Verify(c.Context())
	if err != nil {
		return err
	}
	page, err := newLedgerPage(c)
	if err != nil {
		return err
	}
	page.Report = &rep
	c.Render(ledgerPageView(c, page))
	return nil
}

type ledgerRecordPage struct {
	Row         recordRow
	Facts       []Fact
	Evidence    []Fact
	Data        json.RawMessage
	Body        json.RawMessage
	Disclosures []ledger.Disclosure
	Erased      []string
	Proof       *ledger.Proof
	Valid       bool
	Key         string
}

func ledgerRecord(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	r, err := c.Kernel().Ledger().Record(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	if err := c.Kernel().LogRead(c.Context(), c.Identity, "record"); err != nil {
		return View{}, err
	}
	row := newRecordRow(c, r, people(c))
	var proof *ledger.Proof
	p, err := c.Kernel().Ledger().Prove(c.Context(), id)
	switch {
	case err == nil:
		proof = &p
	case !errors.Is(err, ledger.ErrNotFound):
		return View{}, err
	}
	return ledgerRecordView(newLedgerRecordPage(row, r, proof, c.Kernel().Ledger().VerifierKey())), nil
}

func ledgerRecordView(p ledgerRecordPage) View {
	return View{Title: Humanize(p.Row.Action), Badge: string(p.Row.Outcome), Crumbs: []Crumb{{"Ledger", "/ledger"}, {ShortID(p.Row.ID.String()), ""}}, Template: "ledger_record", Data: p}
}

func newLedgerRecordPage(row recordRow, r ledger.Record, proof *ledger.Proof, key string) ledgerRecordPage {
	v := row.RecordView
	p := ledgerRecordPage{Row: row, Data: v.Data, Body: r.Body, Disclosures: r.Disclosures, Proof: proof, Key: key}
	p.Facts = []Fact{{Label: "Actor", Value: row.Who}, {Label: "Account", Value: v.Actor.ID, Mono: true}, {Label: "Kind", Value: Humanize(string(v.Actor.Kind))}}
	if len(v.Actor.Roles) > 0 {
		p.Facts = append(p.Facts, Fact{Label: "Roles then", Value: strings.Join(v.Actor.Roles, ", ")})
	}
	if v.Subject != nil {
		p.Facts = append(p.Facts, Fact{Label: "Acting for", Value: row.For}, Fact{Label: "Session", Value: v.Session, Href: "/sessions/" + v.Session, Mono: true})
	}
	if v.Tenant != "" {
		p.Facts = append(p.Facts, Fact{Label: "Tenant", Value: row.TenantName, Href: "/tenants/" + string(v.Tenant)})
	}
	about := Fact{Label: "About", Value: v.Resource.String(), Href: linkPath(v.Resource.Kind, v.Resource.ID), Mono: true}
	p.Facts = append(p.Facts, about, Fact{Label: "Reason", Value: v.Reason}, Fact{Label: "Ticket", Value: v.Ticket}, Fact{Label: "When", At: v.At})
	if v.ActionID != "" {
		p.Evidence = append(p.Evidence, Fact{Label: "Action", Value: v.ActionID, Mono: true})
	}
	for _, f := range []Fact{{Label: "Action digest", Value: string(v.Digest), Mono: true}, {Label: "Caused by", Value: v.Causation, Mono: true}, {Label: "Request", Value: v.Request, Mono: true}} {
		if f.Value != "" {
			p.Evidence = append(p.Evidence, f)
		}
	}
	if v.Bootstrap {
		p.Evidence = append(p.Evidence, Fact{Label: "Bootstrap", Value: "yes: one person acted alone"})
	}
	have := map[string]bool{}
	for _, d := range r.Disclosures {
		have[d.Field] = true
	}
	for f := range v.Personal {
		if !have[f] {
			p.Erased = append(p.Erased, f)
		}
	}
	if proof != nil {
		p.Valid = ledger.VerifyProof(key, *proof) == nil
	}
	return p
}

func ledgerProof(c *Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	p, err := c.Kernel().Ledger().Prove(c.Context(), id)
	if err != nil {
		return err
	}
	if err := c.Kernel().LogRead(c.Context(), c.Identity, "proof"); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "proof-"+id.String()+".json"))
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Key string `json:"verification_key"`
		ledger.Proof
	}{c.Kernel().Ledger().VerifierKey(), p})
}

// recordItems are a tenant's newest records for its timeline.
func recordItems(ctx context.Context, k *governance.Kernel, t governance.TenantID, limit int) ([]TimelineItem, []governance.RecordView, error) {
	rs, err := k.Ledger().Records(ctx, ledger.Filter{Tenant: string(t), Limit: int64(limit)})
	if err != nil {
		return nil, nil, err
	}
	items, views := make([]TimelineItem, 0, len(rs)), make([]governance.RecordView, 0, len(rs))
	for _, r := range rs {
		v, err := governance.ReadRecord(r.Body)
		if err != nil {
			continue // another program's record says nothing a reader could use
		}
		it := TimelineItem{At: v.At, Title: Humanize(v.Action), Text: cmp.Or(v.Reason, recordSummary(v)), Actor: cmp.Or(string(v.Actor.Person), v.Actor.ID), Href: "/ledger/" + r.ID.String(), Icon: actionIcon(v.Action)}
		if told, ok := delivered(v); ok { // nine of the same line would say nothing
			it.Title = told
		}
		if v.Subject != nil {
			it.Actor += " as " + cmp.Or(string(v.Subject.Person), v.Subject.ID)
		}
		switch v.Outcome {
		case governance.OutcomeDone, governance.OutcomeObserved:
		case governance.OutcomeHeld:
			it.Tone, it.Status = ToneWarn, string(v.Outcome)
		default:
			it.Tone, it.Status = ToneDanger, string(v.Outcome)
		}
		items, views = append(items, it), append(views, v)
	}
	return items, views, nil
}

// recordSummary says in a few words what a record of the kernel or of a delivery is
// about, where it gives no reason: "Plan scale → free", "sso".
func recordSummary(v governance.RecordView) string {
	var data struct {
		Change map[string]json.RawMessage `json:"change"`
		Name   string                     `json:"name"` // of a delivery's target
		Type   string                     `json:"type"` // of the event delivered
	}
	if json.Unmarshal(v.Data, &data) != nil {
		return ""
	}
	if v.Action == "integration.delivered" {
		return strings.TrimSpace(data.Name + ": " + Humanize(data.Type))
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(data.Change)) {
		var moved struct{ From, To string }
		var word string
		switch {
		case json.Unmarshal(data.Change[k], &moved) == nil:
			if moved.From != moved.To {
				parts = append(parts, Humanize(k)+" "+cmp.Or(moved.From, "none")+" → "+cmp.Or(moved.To, "none"))
			}
		case json.Unmarshal(data.Change[k], &word) != nil || word == "" || word == "0":
		case k == "feature" || k == "reason":
			parts = append(parts, Humanize(word))
		default:
			parts = append(parts, Humanize(k)+" "+word)
		}
	}
	return strings.Join(parts, ", ")
}

// actionIcon picks an icon by the first word of an action's name.
func actionIcon(action string) string {
	prefix, _, _ := strings.Cut(action, ".")
	return cmp.Or(map[string]string{
		"tenant": "tenant", "entitlement": "tag", "approval": "approval", "policy": "policy", "alert": "bell", "impersonation": "eye", "session": "eye",
		"retention": "retention", "playbook": "playbook", "runbook": "runbook", "integration": "delivery", "delivery": "delivery", "user": "user", "key": "key", "analytics": "chart",
	}[prefix], "dot")
}

func findRecord(c *Ctx, q string) ([]Hit, error) {
	id, err := uuid.Parse(q)
	if err != nil {
		return nil, nil
	}
	r, err := c.Kernel().Ledger().Record(c.Context(), id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.Kernel().LogRead(c.Context(), c.Identity, "record"); err != nil {
		return nil, err
	}
	row := newRecordRow(c, r, people(c))
	return []Hit{{Kind: "Record", Title: Humanize(row.Action), Meta: row.Who, Href: "/ledger/" + id.String(), Icon: "ledger"}}, nil
}

func ledgerStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	row := recordRow{N: 4181, Who: "Dana Weiss", For: "Olga Admin", RecordView: governance.RecordView{
		ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), At: at, Action: "tenant.plan_changed", Outcome: governance.OutcomeDone,
		Resource: governance.Ref{Kind: "tenant", ID: "acme"}, Actor: governance.Actor{ID: "user:dana", Kind: governance.ActorUser, Person: "dana", Roles: []string{"cs_agent"}},
		Subject: &governance.Actor{ID: "user:olga"}, Session: "s1", Reason: "Asked by phone", Digest: "sha256:9f2c", Data: json.RawMessage(`{"plan":{"from":"scale","to":"free"}}`),
		Personal: map[string]string{"actor_name": "sha256:aa", "ip": "sha256:bb"}}}
	rec := ledger.Record{ID: row.ID, N: 4181, Body: json.RawMessage(`{"action":"tenant.plan_changed"}`), Disclosures: []ledger.Disclosure{{Field: "actor_name", Value: "Dana Weiss"}}}
	proof := &ledger.Proof{Body: "{}", N: 4181, Path: []string{"q83v", "EjRW"}, Checkpoint: "reeve.test\n4182\nq83v\n\n— reeve.test …"}
	base := ledgerPage{Q: Field{Name: "q", Label: "Contains", Kind: "search"}, Tenant: Field{Name: "tenant", Label: "Tenant"}, Key: "reeve.test+1234+abcd", Checkpoint: &ledger.Checkpoint{Size: 4182, Note: proof.Checkpoint, At: at}}
	with := func(change func(*ledgerPage)) View { p := base; change(&p); return ledgerView(p) }
	unsealed := row
	unsealed.N, unsealed.Outcome, unsealed.TenantName = -1, governance.OutcomeDenied, strings.Repeat("long", 30)
	return []Story{
		{Name: "ledger, first use", View: with(func(p *ledgerPage) {
			p.Checkpoint = nil
			p.Empty = Empty{Icon: "ledger", Title: "Nothing is recorded yet"}
		})},
		{Name: "ledger, none match", View: with(func(p *ledgerPage) {
			p.Empty = Empty{Icon: "search", Title: "No record matches", Action: &Button{Text: "Clear filters", Href: "/ledger"}}
		})},
		{Name: "ledger, rows", View: with(func(p *ledgerPage) { p.Rows = []recordRow{row, unsealed} })},
		{Name: "ledger, verified", View: with(func(p *ledgerPage) {
			p.Rows = []recordRow{row}
			p.Report = &ledger.Report{Records: 4182, Checkpoints: 97}
		})},
		{Name: "ledger, tampered with", View: with(func(p *ledgerPage) {
			p.Rows = []recordRow{row}
			p.Report = &ledger.Report{Records: 4182, Checkpoints: 97, Problems: []string{"record 0192 (leaf 7) is not what was sealed"}}
		})},
		{Name: "record, sealed", View: ledgerRecordView(newLedgerRecordPage(row, rec, proof, "reeve.test+1234+abcd"))},
		{Name: "record, not sealed yet", View: ledgerRecordView(newLedgerRecordPage(unsealed, rec, nil, ""))},
	}
}

// delivered says which system was told what, of a record of a delivery.
func delivered(v governance.RecordView) (string, bool) {
	var d struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if !strings.HasPrefix(v.Action, "integration.") || json.Unmarshal(v.Data, &d) != nil || d.Name == "" || d.Type == "" {
		return "", false
	}
	what := Humanize(d.Type)
	if v.Outcome == governance.OutcomeDone {
		return d.Name + " was told: " + what, true
	}
	return d.Name + " was not told: " + what, true
}
