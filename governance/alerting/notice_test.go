package alerting_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alerting"
	"github.com/reevehq/reeve/governance/outgoing"
)

// inbox is a server that keeps what it is sent.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	header []http.Header
	bodies [][]byte
	refuse map[int]int // n-th request → status
}

func newInbox(t *testing.T) *inbox {
	b := &inbox{refuse: map[int]int{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		defer b.mu.Unlock()
		if code := b.refuse[len(b.bodies)]; code != 0 {
			delete(b.refuse, len(b.bodies))
			w.WriteHeader(code)
			return
		}
		b.header, b.bodies = append(b.header, r.Header), append(b.bodies, body)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *inbox) take() ([]http.Header, [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, d := b.header, b.bodies
	b.header, b.bodies = nil, nil
	return h, d
}

func notice(kind governance.NoticeKind, alerts int) governance.Notice {
	n := governance.Notice{ID: uuid.MustParse("0195f2a0-0000-7000-8000-0000000000ff"), Kind: kind, Group: strings.Repeat("ab", 16), Title: "approval, acme", Waiting: alerts + 2}
	for i := range alerts {
		a := alert()
		a.ID, a.Key, a.AckedBy = uuid.New(), fmt.Sprintf("approval:%d", i), "user:dana"
		n.Alerts = append(n.Alerts, a)
	}
	return n
}

// What PagerDuty publishes about its Events API v2: three actions, a dedup key of at
// most 255 characters, a summary of at most 1024, four severities, 512 KB in all.
type pagerDutyEvent struct {
	RoutingKey  string `json:"routing_key"`
	EventAction string `json:"event_action"`
	DedupKey    string `json:"dedup_key"`
	Client      string `json:"client"`
	Payload     *struct {
		Summary       string            `json:"summary"`
		Source        string            `json:"source"`
		Severity      string            `json:"severity"`
		Timestamp     time.Time         `json:"timestamp"`
		CustomDetails map[string]string `json:"custom_details"`
	} `json:"payload"`
	Links []struct{ Href, Text string } `json:"links"`
}

func readPagerDuty(t *testing.T, body []byte) pagerDutyEvent {
	t.Helper()
	require.Less(t, len(body), 512<<10)
	var e pagerDutyEvent
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&e))
	require.NotEmpty(t, e.RoutingKey)
	require.Contains(t, []string{"trigger", "acknowledge", "resolve"}, e.EventAction)
	require.NotEmpty(t, e.DedupKey)
	require.LessOrEqual(t, utf8.RuneCountInString(e.DedupKey), 255)
	if e.EventAction == "trigger" {
		require.NotNil(t, e.Payload)
		require.NotEmpty(t, e.Payload.Summary)
		require.LessOrEqual(t, utf8.RuneCountInString(e.Payload.Summary), 1024)
		require.NotEmpty(t, e.Payload.Source)
		require.Contains(t, []string{"critical", "error", "warning", "info"}, e.Payload.Severity)
		for _, l := range e.Links {
			require.True(t, strings.HasPrefix(l.Href, "https://") || strings.HasPrefix(l.Href, "http://"))
		}
	}
	return e
}

func TestPagerDuty_Lifecycle(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	p, err := alerting.NewPagerDuty("routing-key-42", "https://reeve.example", in.URL, &alerting.Options{Client: loopback(0)})
	require.NoError(t, err)
	n := notice(governance.NoticeRaised, 3)
	n.Alerts[1].Key = "approval:" + strings.Repeat("é", 4000)
	n.Alerts[1].Title = strings.Repeat("é", 4000)
	n.Alerts[1].Body = strings.Repeat("b", 600<<10)
	for range 100 {
		n.Alerts[1].Links = append(n.Alerts[1].Links, governance.Link{Title: strings.Repeat("t", 5000), URL: "https://reeve.example/x"})
	}
	keys := map[string][]string{}
	for _, step := range []struct {
		kind governance.NoticeKind
		want string
	}{{governance.NoticeRaised, "trigger"}, {governance.NoticeEscalated, "trigger"}, {governance.NoticeAcked, "acknowledge"}, {governance.NoticeResolved, "resolve"}} {
		n.Kind = step.kind
		require.NoError(t, p.Tell(t.Context(), n))
		_, bodies := in.take()
		require.Len(t, bodies, 3, "an incident for each alert")
		for i, b := range bodies {
			e := readPagerDuty(t, b)
			require.Equal(t, step.want, e.EventAction)
			keys[n.Alerts[i].Key] = append(keys[n.Alerts[i].Key], e.DedupKey)
		}
	}
	seen := map[string]bool{}
	for key, ds := range keys {
		for _, d := range ds {
			require.Equal(t, ds[0], d, "one dedup key from trigger to resolve: %s", key[:10])
		}
		require.False(t, seen[ds[0]], "two approvals are two incidents")
		seen[ds[0]] = true
	}
	// The same approval raised anew is the same incident; another server's is not.
	again := n.Alerts[0]
	again.ID = uuid.New()
	require.NoError(t, p.Notify(t.Context(), again))
	_, bodies := in.take()
	require.Equal(t, keys[again.Key][0], readPagerDuty(t, bodies[0]).DedupKey)
	other, err := alerting.NewPagerDuty("routing-key-42", "https://other.example", in.URL, &alerting.Options{Client: loopback(0)})
	require.NoError(t, err)
	require.NoError(t, other.Notify(t.Context(), again))
	_, bodies = in.take()
	require.NotEqual(t, keys[again.Key][0], readPagerDuty(t, bodies[0]).DedupKey)
}

func TestSlack_Group(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	s, err := alerting.NewSlack(in.URL, &alerting.Options{Client: loopback(0)})
	require.NoError(t, err)
	for _, count := range []int{1, 3, 200} {
		n := notice(governance.NoticeRaised, count)
		for i := range n.Alerts {
			n.Alerts[i].Title = strings.Repeat("<!channel> & ", 40)
			n.Alerts[i].Body = strings.Repeat("<@U123> ", 4000)
			n.Alerts[i].Links[0].URL = "https://reeve.example/" + strings.Repeat("x", 300*(i%3))
		}
		require.NoError(t, s.Tell(t.Context(), n))
		_, bodies := in.take()
		require.Len(t, bodies, 1, "one message for a group")
		var m struct {
			Text string `json:"text"`
		}
		require.NoError(t, json.Unmarshal(bodies[0], &m))
		require.LessOrEqual(t, utf8.RuneCountInString(m.Text), 4000, "%d alerts", count)
		require.True(t, utf8.ValidString(m.Text))
		require.NotContains(t, m.Text, "<!")
		require.NotContains(t, m.Text, "<@")
		if count == 200 {
			require.Contains(t, m.Text, "200 alerts raised: approval, acme (202 open)")
			require.Regexp(t, `and \d+ more$`, m.Text)
		}
	}
	for kind, want := range map[governance.NoticeKind]string{governance.NoticeAcked: "user:dana has it in hand.", governance.NoticeResolved: "*RESOLVED*", governance.NoticeEscalated: "*ESCALATED*"} {
		require.NoError(t, s.Tell(t.Context(), notice(kind, 1)))
		_, bodies := in.take()
		require.Contains(t, string(bodies[0]), want)
	}
}

func TestWebhook_Tries(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	w, err := alerting.NewWebhook(in.URL, secret, &alerting.Options{Client: loopback(0)})
	require.NoError(t, err)
	n := notice(governance.NoticeResolved, 2)
	in.refuse[1] = http.StatusServiceUnavailable
	require.ErrorContains(t, w.Tell(t.Context(), n), "answered 503")
	first, _ := in.take()
	require.NoError(t, w.Tell(t.Context(), n))
	all, bodies := in.take()
	require.Len(t, all, 2)
	require.Equal(t, first[0].Get("Webhook-Id"), all[0].Get("Webhook-Id"), "a repeated try has the same id")
	require.NotEqual(t, all[0].Get("Webhook-Id"), all[1].Get("Webhook-Id"))
	var got alerting.WebhookAlert
	require.NoError(t, json.Unmarshal(bodies[1], &got))
	require.Equal(t, []string{"alert.resolved", n.Group, n.Alerts[1].ID.String()}, []string{got.Type, got.Data.Group, got.Data.ID})
}

func TestSMTP_Group(t *testing.T) {
	t.Parallel()
	r, pool, port := newRelay(t, true, false, nil)
	s, err := alerting.NewSMTP(alerting.SMTPOptions{Host: "127.0.0.1", Port: port, From: "reeve@example.com", To: []string{"ops@example.com"}, Implicit: true, RootCAs: pool, Allow: outgoing.Loopback()})
	require.NoError(t, err)
	for kind, want := range map[governance.NoticeKind]string{governance.NoticeRaised: "[critical]", governance.NoticeResolved: "[resolved]"} {
		require.NoError(t, s.Tell(t.Context(), notice(kind, 60)))
		r.mu.Lock()
		m, err := mail.ReadMessage(strings.NewReader(r.data))
		r.mu.Unlock()
		require.NoError(t, err)
		require.Contains(t, m.Header.Get("Subject"), want)
		require.Contains(t, m.Header.Get("Subject"), "60 alerts")
		require.Equal(t, "<group-"+strings.Repeat("ab", 16)+"@example.com>", m.Header.Get("References"))
		body, err := io.ReadAll(m.Body)
		require.NoError(t, err)
		require.Contains(t, string(body), "and 10 more")
	}
}
