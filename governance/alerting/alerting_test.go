package alerting_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alerting"
	"github.com/reevehq/reeve/governance/outgoing"
)

func alert() governance.Alert {
	return governance.Alert{
		ID: uuid.MustParse("0195f2a0-0000-7000-8000-000000000001"), Key: "approval:1", Severity: governance.Critical, Title: "Credit <!channel> waits\r\nBcc: eve@example.com",
		Body: "over EUR 1,000 & more", Tenant: "acme", Times: 1, FirstAt: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
		Links: []governance.Link{{Title: "Approval", Kind: "approval", ID: "1", URL: "https://reeve.example/approvals/1"}, {Title: "Record", Kind: "record", ID: "2", URL: "/ledger/2"}},
	}
}

var secret = []byte("an invented secret of 32 bytes..")

// kinds makes each notifier that speaks HTTP, for one address.
func kinds(t *testing.T, address string, client *http.Client) []governance.Notifier {
	opts := &alerting.Options{Client: client, Now: func() time.Time { return time.Date(2026, 3, 1, 9, 1, 0, 0, time.UTC) }}
	hook, err := alerting.NewWebhook(address, secret, opts)
	require.NoError(t, err)
	slack, err := alerting.NewSlack(address, opts)
	require.NoError(t, err)
	pager, err := alerting.NewPagerDuty("routing-key-42", "reeve.example", address, opts)
	require.NoError(t, err)
	return []governance.Notifier{hook, slack, pager}
}

func loopback(timeout time.Duration) *http.Client {
	return outgoing.New(&outgoing.Options{Allow: outgoing.Loopback(), Timeout: timeout})
}

func TestNotify_HTTP(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []*http.Request
	var bodies [][]byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got, bodies = append(got, r), append(bodies, b)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(srv.Close)
	ns := kinds(t, srv.URL+"/hook", loopback(0))
	for i, name := range []string{"webhook", "slack", "pagerduty"} {
		require.Equal(t, name, ns[i].Name())
		require.NoError(t, ns[i].Notify(t.Context(), alert()))
	}

	id, at := got[0].Header.Get("Webhook-Id"), got[0].Header.Get("Webhook-Timestamp")
	require.Equal(t, alert().ID.String(), id)
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, at, bodies[0])
	require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), got[0].Header.Get("Webhook-Signature"))
	var hook alerting.WebhookAlert
	require.NoError(t, json.Unmarshal(bodies[0], &hook))
	require.Equal(t, "alert.raised", hook.Type)
	require.Equal(t, "acme", hook.Data.Tenant)
	require.Len(t, hook.Data.Links, 2)

	var slack struct{ Text string }
	require.NoError(t, json.Unmarshal(bodies[1], &slack))
	require.NotContains(t, slack.Text, "<!", "an alert calls nobody by itself")
	require.Contains(t, slack.Text, "EUR 1,000 &amp; more")
	require.Contains(t, slack.Text, "<https://reeve.example/approvals/1|Approval>")
	require.NotContains(t, slack.Text, "/ledger/2")

	var pager struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		DedupKey    string `json:"dedup_key"`
		Payload     struct{ Severity, Source, Summary string }
		Links       []struct{ Href string }
	}
	require.NoError(t, json.Unmarshal(bodies[2], &pager))
	require.Equal(t, []string{"routing-key-42", "trigger", "critical", "reeve.example"},
		[]string{pager.RoutingKey, pager.EventAction, pager.Payload.Severity, pager.Payload.Source})
	require.Len(t, pager.Links, 1)

	// A long alert stays within what PagerDuty takes, and is cut between characters.
	long := alert()
	long.Title = strings.Repeat("é", 2000)
	require.NoError(t, ns[2].Notify(t.Context(), long))
	require.NoError(t, json.Unmarshal(bodies[3], &pager))
	require.LessOrEqual(t, len(pager.Payload.Summary), 1024)
	require.NotContains(t, pager.Payload.Summary, "\ufffd")
}

func TestNotify_Fails(t *testing.T) {
	t.Parallel()
	status := make(chan int, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch s := <-status; s {
		case 0:
			<-r.Context().Done()
		case 302:
			http.Redirect(w, r, "/elsewhere", s)
		default:
			http.Error(w, "your token T0/B0/secret is wrong", s)
		}
	}))
	t.Cleanup(srv.Close)
	for _, n := range kinds(t, srv.URL+"/services/T0/B0/secret", loopback(0)) {
		for _, s := range []int{302, 400, 404, 429, 500, 503} {
			status <- s
			err := n.Notify(t.Context(), alert())
			require.ErrorContains(t, err, fmt.Sprint("answered ", s))
			require.NotContains(t, err.Error(), "secret")
		}
	}
	for _, n := range kinds(t, srv.URL+"/services/T0/B0/secret", loopback(50*time.Millisecond)) {
		status <- 0
		err := n.Notify(t.Context(), alert())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret", "an error is stored and shown")
		require.NotContains(t, err.Error(), "routing-key")
	}
	for _, n := range kinds(t, srv.URL+"/services/T0/B0/secret", nil) {
		err := n.Notify(t.Context(), alert())
		require.ErrorIs(t, err, outgoing.ErrProhibited, "the default client does not reach this machine")
		require.NotContains(t, err.Error(), "secret")
	}
	for _, bad := range []string{"", "hooks.example", "ftp://hooks.example/secret", "https://u:secret@hooks.example", "https:///secret"} {
		_, err := alerting.NewSlack(bad, nil)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := alerting.NewWebhook("https://hooks.example", []byte("short"), nil)
	require.Error(t, err)
	_, err = alerting.NewPagerDuty("", "s", "", nil)
	require.Error(t, err)
}

// relay is a mail server of a few lines. behave says what it does at a verb.
type relay struct {
	listener net.Listener
	tls      *tls.Config
	behave   map[string]string // verb → answer; "hang" never answers
	startTLS bool

	mu    sync.Mutex
	lines []string
	data  string
	login string
	safe  bool // TLS was up when the mail came
}

func newRelay(t *testing.T, implicit, startTLS bool, behave map[string]string) (*relay, *x509.CertPool, uint16) {
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	r := &relay{tls: &tls.Config{Certificates: web.TLS.Certificates}, behave: behave, startTLS: startTLS, safe: implicit}
	var err error
	r.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := uint16(r.listener.Addr().(*net.TCPAddr).Port)
	if implicit {
		r.listener = tls.NewListener(r.listener, r.tls)
	}
	t.Cleanup(func() { _ = r.listener.Close() })
	go func() {
		for {
			c, err := r.listener.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	return r, pool, port
}

func (r *relay) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 relay")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(strings.ToUpper(line)), " ")
		r.mu.Lock()
		r.lines = append(r.lines, strings.TrimSpace(line))
		r.mu.Unlock()
		switch answer := r.behave[verb]; {
		case answer == "hang":
			_, _ = in.ReadString('\n')
			return
		case answer != "":
			say(answer)
			continue
		}
		switch verb {
		case "EHLO":
			say("250-relay")
			if r.startTLS {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go")
			secure := tls.Server(c, r.tls)
			if secure.Handshake() != nil {
				return
			}
			c, in, r.safe = secure, bufio.NewReader(secure), true
		case "AUTH":
			r.login = strings.TrimSpace(line)
			say("235 ok")
		case "DATA":
			say("354 go")
			var b strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil || l == ".\r\n" {
					break
				}
				b.WriteString(l)
			}
			r.mu.Lock()
			r.data = b.String()
			r.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestNotify_SMTP(t *testing.T) {
	t.Parallel()
	options := func(pool *x509.CertPool, port uint16) alerting.SMTPOptions {
		return alerting.SMTPOptions{Host: "127.0.0.1", Port: port, From: "reeve@example.com", To: []string{"ops@example.com", "cfo@example.com"},
			Username: "u", Password: "p", RootCAs: pool, Allow: outgoing.Loopback()}
	}
	for _, implicit := range []bool{true, false} {
		r, pool, port := newRelay(t, implicit, !implicit, nil)
		o := options(pool, port)
		o.Implicit = implicit
		n, err := alerting.NewSMTP(o)
		require.NoError(t, err)
		require.NoError(t, n.Notify(t.Context(), alert()))
		r.mu.Lock()
		m, err := mail.ReadMessage(strings.NewReader(r.data))
		require.True(t, r.safe)
		require.NotEmpty(t, r.login)
		r.mu.Unlock()
		require.NoError(t, err)
		require.Empty(t, m.Header.Get("Bcc"), "a title adds no header")
		require.Equal(t, "ops@example.com, cfo@example.com", m.Header.Get("To"))
		require.Equal(t, "<"+alert().ID.String()+"@example.com>", m.Header.Get("Message-Id"))
		body, err := io.ReadAll(m.Body)
		require.NoError(t, err)
		require.Contains(t, string(body), "https://reeve.example/approvals/1")
	}

	t.Run("no TLS, no mail", func(t *testing.T) {
		t.Parallel()
		r, pool, port := newRelay(t, false, false, nil)
		n, err := alerting.NewSMTP(options(pool, port))
		require.NoError(t, err)
		require.ErrorContains(t, n.Notify(t.Context(), alert()), "no TLS")
		r.mu.Lock()
		defer r.mu.Unlock()
		require.Empty(t, r.login)
		require.Empty(t, r.data)
		o := options(pool, port)
		o.PlainText = true
		_, err = alerting.NewSMTP(o)
		require.ErrorContains(t, err, "without TLS")
	})
	t.Run("a certificate nobody trusts", func(t *testing.T) {
		t.Parallel()
		_, _, port := newRelay(t, false, true, nil)
		n, err := alerting.NewSMTP(options(x509.NewCertPool(), port))
		require.NoError(t, err)
		require.ErrorContains(t, n.Notify(t.Context(), alert()), "certificate")
	})
	t.Run("refused, or without an answer", func(t *testing.T) {
		t.Parallel()
		for verb, answer := range map[string]string{"RCPT": "550 no such user ops@example.com", "MAIL": "451 later", "DATA": "554 no"} {
			_, pool, port := newRelay(t, false, true, map[string]string{verb: answer})
			n, err := alerting.NewSMTP(options(pool, port))
			require.NoError(t, err)
			err = n.Notify(t.Context(), alert())
			require.ErrorContains(t, err, "answered "+answer[:3])
			require.NotContains(t, err.Error(), "@")
		}
		_, pool, port := newRelay(t, false, true, map[string]string{"MAIL": "hang"})
		n, err := alerting.NewSMTP(options(pool, port))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.Error(t, n.Notify(ctx, alert()))
	})
	t.Run("guarded", func(t *testing.T) {
		t.Parallel()
		_, pool, port := newRelay(t, false, true, nil)
		o := options(pool, port)
		o.Allow = nil
		n, err := alerting.NewSMTP(o)
		require.NoError(t, err)
		require.ErrorIs(t, n.Notify(t.Context(), alert()), outgoing.ErrProhibited)
		_, err = alerting.NewSMTP(alerting.SMTPOptions{Host: "h", From: "x\r\nBcc: y@example.com", To: []string{"a@example.com"}})
		require.Error(t, err)
		_, err = alerting.NewSMTP(alerting.SMTPOptions{From: "a@example.com"})
		require.Error(t, err)
	})
}
