// Package billing makes up a business for the demo: its customers and two years and
// more of what their billing and usage systems would tell.
//
// Start with [Generate]. The same seed and day give the same business, which ends
// on that day. Every name is invented, every domain is under .example. The facts go
// through the same ingest as real ones; see [Data.Facts].
package billing

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

// Owners is how many customer-success managers share the tenants: Tenant.Owner is
// from 0 to Owners-1.
const Owners = 6

// Tenant is a customer as the host's own database would hold it.
type Tenant struct {
	ID           string
	Name         string
	Domain       string
	Country      string // ISO 3166-1
	Region       string
	Currency     string
	Plan         string
	Seats        int64
	Owner        int
	Status       governance.TenantStatus
	CreatedAt    time.Time
	RenewalAt    time.Time // zero when closed
	LastActivity time.Time
	MRR          int64  // in minor units of Currency, now
	Note         string // what it is in the demo for: "idle", "overdue", "trial", …; mostly empty
}

// Data is the whole business.
type Data struct {
	Tenants []Tenant
	// Facts are sorted so that any prefix makes sense: rates, then by day. Send them in
	// batches of at most analytics.MaxBatch.
	Facts []analytics.Fact
}

// The plans and their price for one seat and month, in hundredths of the currency.
var plans = []struct {
	name  string
	seat  int64
	seats [2]int // usual range at the beginning
}{
	{"starter", 1900, [2]int{2, 9}},
	{"team", 3900, [2]int{6, 34}},
	{"business", 6900, [2]int{20, 120}},
	{"enterprise", 9900, [2]int{80, 320}},
}

var countries = []struct {
	code, region, currency string
	weight                 int
}{
	{"DE", "EMEA", "EUR", 24}, {"FR", "EMEA", "EUR", 17}, {"NL", "EMEA", "EUR", 12}, {"ES", "EMEA", "EUR", 9}, {"IT", "EMEA", "EUR", 8}, {"SE", "EMEA", "EUR", 6},
	{"GB", "EMEA", "GBP", 20}, {"US", "AMER", "USD", 34}, {"CA", "AMER", "USD", 8},
}

const (
	tenants     = 224
	months      = 36 // of subscriptions
	billed      = 24 // months of invoices and usage
	dailyDays   = 90 // days of usage told day by day; before, week by week
	trials      = 12
	idle        = 9
	overdue     = 7
	priceMonth  = 10 // months ago the price list changed
	churnMonth  = 7  // months ago an outage made customers leave
	priceFactor = 108
)

// seasons weighs the months of the year for new business: strong in January and
// September, weak in summer and December.
var seasons = [12]float64{1.45, 1.1, 1.15, 1.0, 0.95, 0.8, 0.55, 0.5, 1.55, 1.3, 1.1, 0.6}

type generator struct {
	r     *rand.Rand
	today analytics.Day
	first analytics.Month
	data  *Data
	subs  []*subscription
}

// subscription is one subscription while its life is made up.
type subscription struct {
	tenant  int
	id      string
	plan    int
	seats   int64
	annual  bool
	percent int64 // of the list price
	steps   []step
}

// step is what a subscription is from a day on.
type step struct {
	day    analytics.Day
	plan   int
	seats  int64
	mrr    int64
	cancel bool
}

// Generate makes the business that ends on the day of today, in UTC.
func Generate(seed uint64, today time.Time) *Data {
	day := analytics.DayOf(today, time.UTC)
	g := &generator{r: rand.New(rand.NewPCG(seed, 0x7265657665)), today: day, first: day.Month() - months, data: &Data{}}
	g.rates()
	g.customers()
	for _, s := range g.subs {
		g.life(s)
	}
	g.subscriptionFacts()
	g.invoices()
	g.usage()
	for _, source := range []string{"billing", "product"} {
		g.add(analytics.Fact{Source: source, Key: "through", Kind: analytics.KindWatermark, At: g.at(day-1, 0)})
	}
	slices.SortStableFunc(g.data.Facts, func(a, b analytics.Fact) int {
		rank := func(f analytics.Fact) int {
			return slices.Index([]analytics.Kind{analytics.KindRate, analytics.KindSubscription}, f.Kind) & 3 // the others last
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.At.Compare(b.At))
	})
	return g.data
}

func (g *generator) at(d analytics.Day, hour int) time.Time {
	return d.Start(time.UTC).Add(time.Duration(hour) * time.Hour)
}

func (g *generator) add(f analytics.Fact) { g.data.Facts = append(g.data.Facts, f) }

// chance is true in p of 1000.
func (g *generator) chance(p int) bool { return g.r.IntN(1000) < p }

// rates tells the European reference rates of a made-up market on the first of each
// month and each Monday: a slow walk around a level.
func (g *generator) rates() {
	for _, c := range []struct {
		currency string
		level    float64
	}{{"USD", 0.918}, {"GBP", 1.163}} {
		v := c.level
		for d := (g.first - 1).First(); d <= g.today; d++ {
			v += (c.level-v)*0.01 + (g.r.Float64()-0.5)*0.006
			if d == d.Month().First() || d.Start(time.UTC).Weekday() == time.Monday {
				g.add(analytics.Fact{Source: "rates", Key: c.currency + "@" + d.String(), Kind: analytics.KindRate, Currency: c.currency, At: g.at(d, 0),
					Rate: int64(math.Round(v * 1e6))})
			}
		}
	}
}

var (
	nameFirst = []string{"Alder", "Brack", "Calder", "Dornwald", "Elmhurst", "Fennmark", "Gildhaven", "Harrowfell", "Isenbruck", "Juniper Row", "Kestrelby", "Larkmoor",
		"Mirefield", "Norvind", "Oakensee", "Pellworm", "Quillbank", "Ravenstead", "Solhaven", "Thornbury Lane", "Umberwell", "Valmonte", "Wendelin", "Yarrowdale", "Zephyrine"}
	nameSecond = []string{"Analytics", "Freight", "Dental", "Robotics", "Foods", "Insurance Brokers", "Textiles", "Energy", "Studios", "Logistics", "Instruments", "Learning",
		"Travel", "Ceramics", "Payments", "Biotech", "Printworks", "Mobility"}
	nameForm = map[string][]string{"DE": {"GmbH", "AG"}, "FR": {"SAS", "SARL"}, "NL": {"B.V."}, "ES": {"S.L."}, "IT": {"S.r.l."}, "SE": {"AB"}, "GB": {"Ltd"}, "US": {"Inc.", "LLC"}, "CA": {"Inc."}}
)

// customers makes the tenants and their subscriptions, in the order in which they come.
func (g *generator) customers() {
	var names []string
	for _, a := range nameFirst {
		for _, b := range nameSecond {
			names = append(names, a+" "+b)
		}
	}
	g.r.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	total := 0
	for _, c := range countries {
		total += c.weight
	}
	for i, begun := range g.beginnings() {
		pick := g.r.IntN(total)
		if i < len(countries) {
			pick = 0 // each country has one at least
			for _, c := range countries[:i] {
				pick += c.weight
			}
		}
		c := 0
		for pick >= countries[c].weight {
			pick -= countries[c].weight
			c++
		}
		country := countries[c]
		slug := strings.ToLower(strings.NewReplacer(" ", "-").Replace(names[i]))
		t := Tenant{ID: "t-" + slug, Name: names[i] + " " + nameForm[country.code][g.r.IntN(len(nameForm[country.code]))], Domain: slug + ".example",
			Country: country.code, Region: country.region, Currency: country.currency, Owner: i % Owners, CreatedAt: g.at(begun, 8+g.r.IntN(10))}
		plan := []int{0, 0, 0, 1, 1, 1, 1, 2, 2, 3}[g.r.IntN(10)]
		size := plans[plan].seats
		s := &subscription{tenant: i, id: fmt.Sprintf("sub-%04d", i+1), plan: plan, seats: int64(size[0] + g.r.IntN(size[1]-size[0]+1)), annual: g.chance(280 * (plan + 1) / 2), percent: 100}
		s.steps = []step{{day: begun}}
		if i >= tenants-trials {
			t.Note, t.Status = "trial", governance.TenantTrial
		}
		g.subs = append(g.subs, s)
		g.data.Tenants = append(g.data.Tenants, t)
	}
}

// beginnings are the days on which tenants come, sorted: more as the business grows,
// by the season, and the trials in the last two weeks.
func (g *generator) beginnings() []analytics.Day {
	var weights [months]float64
	sum := 0.0
	for i := range weights {
		m := g.first + analytics.Month(i)
		weights[i] = (0.7 + 0.9*float64(i)/months) * seasons[int(m)%12]
		if i == 0 {
			weights[i] *= 6 // who was there before the story begins
		}
		sum += weights[i]
	}
	var out []analytics.Day
	carry := 0.0
	for i, w := range weights {
		carry += w / sum * (tenants - trials)
		m := g.first + analytics.Month(i)
		for ; carry >= 0.5 && len(out) < tenants-trials; carry-- {
			out = append(out, m.First()+analytics.Day(g.r.IntN(int(m.Last()-m.First())+1)))
		}
	}
	for len(out) < tenants-trials { // what rounding left over
		out = append(out, g.today-20)
	}
	for range trials {
		out = append(out, g.today-analytics.Day(1+g.r.IntN(13)))
	}
	slices.Sort(out)
	return out
}

// price is a subscription's MRR: seats at the list price of the day it was bought,
// a sixth off when paid by the year.
func (s *subscription) price() int64 {
	year := plans[s.plan].seat * s.seats * 12 * s.percent / 100
	if s.annual {
		year = year * 5 / 6
	}
	return analytics.Monthly(year, 12)
}

// life makes up what happens to a subscription, month by month.
func (g *generator) life(s *subscription) {
	t := &g.data.Tenants[s.tenant]
	begun := s.steps[0].day
	s.steps = nil
	put := func(d analytics.Day, cancel bool) {
		st := step{day: d, plan: s.plan, seats: s.seats, mrr: s.price(), cancel: cancel}
		if cancel {
			st.seats, st.mrr = 0, 0
		}
		s.steps = append(s.steps, st)
	}
	if t.Note == "trial" {
		s.seats = 5
		s.steps = append(s.steps, step{day: begun, plan: 1, seats: 5})
		return
	}
	if g.chance(350) { // two weeks of trial before
		s.steps = append(s.steps, step{day: begun, plan: s.plan, seats: s.seats})
		begun += 14
		if begun > g.today {
			t.Status = governance.TenantTrial
			return
		}
	}
	raised := begun.Month() > g.today.Month()-priceMonth
	if raised {
		s.percent = priceFactor
	}
	put(begun, false)
	gone := analytics.Day(0)
	for m := begun.Month() + 1; m <= g.today.Month(); m++ {
		d := m.First() + analytics.Day(g.r.IntN(int(m.Last()-m.First())+1))
		if d > g.today {
			break
		}
		if gone > 0 {
			// One in six comes back within the year.
			if d-gone > 50 && d-gone < 330 && g.chance(24) {
				s.seats, gone = max(2, s.seats*3/4), 0
				put(d, false)
			}
			continue
		}
		leave := []int{19, 12, 7, 4}[s.plan]
		if m == g.today.Month()-churnMonth || m == g.today.Month()-churnMonth+1 {
			leave *= 5
		}
		season := int(m) % 12
		switch {
		case g.chance(leave) && (!s.annual || d-begun > 300) && g.today-d > 25:
			gone = d
			put(d, true)
		case !raised && m >= g.today.Month()-priceMonth && (!s.annual || (m-begun.Month())%12 == 0):
			raised, s.percent = true, priceFactor
			put(m.First(), false)
		case g.chance([]int{55, 60, 70, 80}[s.plan] + map[int]int{0: 50, 1: 30, 8: 40, 9: 30}[season]):
			s.seats += 1 + int64(g.r.IntN(int(s.seats)/5+2))
			if s.plan < 2 && s.seats > int64(plans[s.plan].seats[1])*3/2 {
				s.plan++ // grown out of its plan
			}
			put(d, false)
		case g.chance(20) && s.seats > 4:
			s.seats -= 1 + int64(g.r.IntN(int(s.seats)/4+1))
			put(d, false)
		case g.chance(5) && s.plan > 0:
			s.plan--
			put(d, false)
		}
	}
}

// subscriptionFacts tells the lives, and sets the tenants to how they ended.
func (g *generator) subscriptionFacts() {
	var active []int
	for i, s := range g.subs {
		t := &g.data.Tenants[s.tenant]
		for n, st := range s.steps {
			g.add(analytics.Fact{Source: "billing", Key: fmt.Sprintf("%s/%d", s.id, n+1), Kind: analytics.KindSubscription, Tenant: governance.TenantID(t.ID),
				Subscription: s.id, Plan: plans[st.plan].name, Quantity: st.seats, Amount: st.mrr, Currency: t.Currency, Cancelled: st.cancel, At: g.at(st.day, 9), Sequence: int64(n + 1)})
		}
		last := s.steps[len(s.steps)-1]
		t.Plan, t.Seats, t.MRR = plans[last.plan].name, last.seats, last.mrr
		switch {
		case last.cancel:
			t.Status, t.Seats = governance.TenantClosed, 0
			t.LastActivity = g.at(last.day, 15)
		case t.Status == governance.TenantTrial:
			t.RenewalAt = g.at(s.steps[0].day+14, 0)
		default:
			t.Status = governance.TenantActive
			t.RenewalAt = g.renewal(s)
			if g.today-s.steps[0].day > 120 {
				active = append(active, i)
			}
		}
	}
	// The tenants that playbooks are about: quiet ones, and ones that do not pay.
	g.r.Shuffle(len(active), func(i, k int) { active[i], active[k] = active[k], active[i] })
	for i, n := range active {
		switch {
		case i < idle:
			g.data.Tenants[n].Note = "idle"
		case i < idle+overdue:
			g.data.Tenants[n].Note = "overdue"
		}
	}
}

// renewal is the next day on which a subscription is paid for.
func (g *generator) renewal(s *subscription) time.Time {
	begun := s.steps[0].day.Start(time.UTC)
	every := 1
	if s.annual {
		every = 12
	}
	for n := every; ; n += every {
		if d := analytics.DayOf(begun.AddDate(0, n, 0), time.UTC); d > g.today {
			return g.at(d, 0)
		}
	}
}

// invoices bills what a subscription costs on the first of each month, or for the
// year on its anniversary, and pays most of it within the month.
func (g *generator) invoices() {
	for _, s := range g.subs {
		t := g.data.Tenants[s.tenant]
		paidBefore := g.today
		if t.Note == "overdue" {
			paidBefore = g.today - analytics.Day(35+g.r.IntN(60))
			if s.annual {
				paidBefore = g.today - 400 // its last yearly invoice is the open one
			}
		}
		for m := g.today.Month() - billed; m <= g.today.Month(); m++ {
			d := m.First()
			mrr := int64(0)
			begun := analytics.Month(0)
			for _, st := range s.steps {
				if st.day <= d {
					mrr = st.mrr
				}
				if begun == 0 && st.mrr > 0 {
					begun = st.day.Month() + 1
				}
			}
			if mrr == 0 || d > g.today-1 || (s.annual && (m-begun)%12 != 0) {
				continue
			}
			amount := mrr
			if s.annual {
				amount *= 12
			}
			ref := fmt.Sprintf("INV-%s-%s", m, s.id)
			f := analytics.Fact{Source: "billing", Key: ref, Kind: analytics.KindInvoice, Tenant: governance.TenantID(t.ID), Subscription: s.id, Ref: ref, Amount: amount,
				Currency: t.Currency, At: g.at(d, 6), Due: d + 14}
			g.add(f)
			paid := d + analytics.Day(2+g.r.IntN(12))
			if d > paidBefore || paid > g.today-1 {
				continue
			}
			g.add(analytics.Fact{Source: "billing", Key: ref + "/paid", Kind: analytics.KindPayment, Tenant: f.Tenant, Subscription: s.id, Ref: ref, Amount: amount,
				Currency: t.Currency, At: g.at(paid, 11)})
		}
	}
}

// usage tells how many people worked with the product: each day of the last three
// months, and before that each week the sum of its days.
func (g *generator) usage() {
	daily := g.today - dailyDays
	for _, s := range g.subs {
		t := &g.data.Tenants[s.tenant]
		share := 0.35 + 0.45*g.r.Float64()
		week := int64(0)
		from := max(s.steps[0].day, (g.today.Month() - billed).First())
		for d := from; d < g.today; d++ {
			seats := int64(0)
			for _, st := range s.steps {
				if st.day <= d {
					seats = st.seats
				}
			}
			n := g.users(d, float64(seats)*share, t.Note)
			date := d.Start(time.UTC)
			if d < daily {
				week += n
				if date.Weekday() == time.Sunday || d == daily-1 {
					g.usageFact(t, d, week)
					week = 0
				}
				continue
			}
			if seats > 0 {
				g.usageFact(t, d, n)
			}
			if n > 0 {
				t.LastActivity = g.at(d, 9+g.r.IntN(9))
			}
		}
		if t.LastActivity.IsZero() {
			t.LastActivity = t.CreatedAt
		}
	}
}

func (g *generator) users(d analytics.Day, usual float64, note string) int64 {
	date := d.Start(time.UTC)
	if wd := date.Weekday(); wd == time.Saturday || wd == time.Sunday {
		usual *= 0.12
	}
	switch m := date.Month(); {
	case m == time.August, m == time.December && date.Day() > 20:
		usual *= 0.6
	}
	if note == "idle" {
		// Fading for two months, silent in the last three weeks.
		left := float64(g.today - d)
		usual *= min(1, max(0, (left-21)/45))
	}
	usual *= 0.8 + 0.4*g.r.Float64()
	return int64(math.Round(usual))
}

func (g *generator) usageFact(t *Tenant, d analytics.Day, n int64) {
	if n == 0 && d < g.today-dailyDays {
		return
	}
	g.add(analytics.Fact{Source: "product", Key: fmt.Sprintf("%s/active_users/%s", t.ID, d), Kind: analytics.KindUsage, Tenant: governance.TenantID(t.ID), Metric: "active_users",
		Quantity: n, At: g.at(d, 0)})
}
