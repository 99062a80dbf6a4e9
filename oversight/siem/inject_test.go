package siem_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	syslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/siem"
)

// parseFrames reads octet-counted frames with a parser that is not ours.
func parseFrames(b []byte) (out []*rfc5424.SyslogMessage, err error) {
	p := octetcounting.NewParser(syslog.WithMaxMessageLength(1<<20), syslog.WithListener(func(r *syslog.Result) {
		if r.Error != nil {
			err = r.Error
			return
		}
		out = append(out, r.Message.(*rfc5424.SyslogMessage))
	}))
	p.Parse(bytes.NewReader(b))
	return out, err
}

// checkFrame checks one event in a frame between two others.
func checkFrame(t fataler, s *siem.Syslog, e siem.Event) {
	before, after := siem.Event{Metadata: siem.Metadata{UID: "before"}}, siem.Event{Metadata: siem.Metadata{UID: "after"}}
	var stream []byte
	for _, ev := range []siem.Event{before, e, after} {
		frame, err := s.Frame(ev)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, c := range frame {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("byte %#x in %q", c, frame)
			}
		}
		stream = append(stream, fmt.Sprintf("%d %s", len(frame), frame)...)
	}
	got, err := parseFrames(stream)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d messages: %v\n%q", len(got), err, stream)
	}
	var uids []string
	for _, m := range got {
		var back siem.Event
		if m.Message == nil || json.Unmarshal([]byte(*m.Message), &back) != nil {
			t.Fatalf("no JSON in %+v", m)
		}
		if *m.Priority/8 != 13 || m.Version != 1 {
			t.Fatalf("priority %d, version %d", *m.Priority, m.Version)
		}
		uids = append(uids, back.Metadata.UID)
	}
	if uids[0] != "before" || uids[2] != "after" || uids[1] != strings.ToValidUTF8(e.Metadata.UID, "\ufffd") {
		t.Fatalf("%q", uids)
	}
}

// FuzzInjection puts what people can type into every place they can type it into, and reads
// lines and frames back with parsers that are not ours.
func FuzzInjection(f *testing.F) {
	for _, s := range []string{"a", "a\nb", "a\r\n<13>1 2026-01-01T00:00:00Z h a - - - forged", "\u2028\u2029\u0085", "\u202e\u2066\u200f", "\x00\x1b[2J", "\xff\xfe\xed\xa0\x80", `"]} {"x":1}`, "120 <104>1", `\u000a\`, strings.Repeat("é", 4000)} {
		f.Add(s, "acme", "agent")
		f.Add("reason", s, s)
	}
	sys, err := siem.NewSyslog("syslog", "tcp://127.0.0.1:1", &siem.SyslogOptions{Hostname: "host\n name"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reason, tenant, agent string) {
		body, err := json.Marshal(map[string]any{"kind": governance.RecordKind, "id": uuid.Nil, "at": "2026-01-15T12:00:00Z", "action": agent, "outcome": "done", "tenant": tenant,
			"resource": "tenant/" + tenant, "actor": map[string]any{"id": tenant, "kind": agent}, "reason": reason, "request": agent, "data": map[string]any{"user_agent": agent, "name": tenant}})
		if err != nil {
			t.Fatal(err)
		}
		raw := []byte(reason + tenant) // a body that is no record of the kernel
		alert := governance.Alert{Key: agent, Title: tenant, Body: reason, Tenant: governance.TenantID(tenant), State: governance.AlertState(agent)}
		for _, e := range []siem.Event{mapper.Record(ledger.Record{Body: body}), mapper.Record(ledger.Record{Kind: agent, Tenant: tenant, Body: raw}), mapper.Alert(alert, true)} {
			line, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(bytes.NewReader(append(line, '\n')))
			var back map[string]any
			if err := d.Decode(&back); err != nil {
				t.Fatal(err)
			}
			if err := d.Decode(&back); err != io.EOF {
				t.Fatalf("more than one value in a line: %v", err)
			}
			checkFrame(t, sys, e)
			if strings.ContainsAny(e.Message, "\n\r\u2028\u202e\u2066\x1b\x00") {
				t.Fatalf("message %q", e.Message)
			}
		}
	})
}

// collector is a syslog server: it reads connections to their end and closes them.
type collector struct {
	net.Listener
	mu      sync.Mutex
	got     []byte
	conns   int
	abandon int // connections to close after a few bytes, as a server that dies
}

func collect(t *testing.T, l net.Listener, abandon int) *collector {
	t.Helper()
	c := &collector{Listener: l, abandon: abandon}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	return c
}

func (c *collector) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	c.mu.Lock()
	c.conns++
	dies := c.conns <= c.abandon
	c.mu.Unlock()
	if dies {
		_, _ = io.ReadFull(conn, make([]byte, 10))
		return
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		return
	}
	c.mu.Lock()
	c.got = append(c.got, b...)
	c.mu.Unlock()
}

func (c *collector) events(t *testing.T) []siem.Event {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ms, err := parseFrames(c.got)
	require.NoError(t, err)
	var out []siem.Event
	for _, m := range ms {
		var e siem.Event
		require.NoError(t, json.Unmarshal([]byte(*m.Message), &e))
		out = append(out, e)
	}
	return out
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestSyslog_tcpAndTLS: a receiver that dies before it has read a batch gets it again; one
// whose certificate nobody vouches for gets nothing.
func TestSyslog_tcpAndTLS(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	var events []siem.Event
	for i := range int64(300) {
		e := mapper.Record(ledger.Record{N: i, Body: fmt.Appendf(nil, `{"kind":"reeve/record/v1","id":%q,"at":"2026-01-15T12:00:00Z","action":"tenant.note","outcome":"done","actor":{"id":"user:dana","kind":"user"},"reason":%q}`, uuid.New(), strings.Repeat("x", 3000))})
		events = append(events, e)
	}
	for _, scheme := range []string{"tcp", "tls"} {
		t.Run(scheme, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			address := scheme + "://" + l.Addr().String()
			if scheme == "tls" {
				l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
			}
			c := collect(t, l, 1)
			s, err := siem.NewSyslog("syslog", address, &siem.SyslogOptions{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			require.Error(t, s.Send(ctx, siem.Batch{Events: events}), "the receiver died in the middle of it")
			require.NoError(t, s.Send(ctx, siem.Batch{Events: events}))
			got := c.events(t)
			require.Len(t, got, 300)
			requireEvery(t, leaves(got), 300)
			if scheme == "tls" {
				stranger, err := siem.NewSyslog("syslog", address, nil)
				require.NoError(t, err)
				require.ErrorContains(t, stranger.Send(ctx, siem.Batch{Events: events[:1]}), "certificate")
			}
		})
	}
}

func TestSyslog_addresses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"udp://127.0.0.1:514", "127.0.0.1:514", "tcp://h", "tcp://h:0", "tcp://u:p@h:1", "tls://h:1/x", "tls://h:1?x", "http://h:1", ""} {
		_, err := siem.NewSyslog("syslog", bad, nil)
		require.Error(t, err, bad)
	}
	_, err := siem.NewSyslog("syslog", "udp://127.0.0.1:514", nil)
	require.ErrorContains(t, err, "loses messages")
	_, err = siem.NewSyslog("Bad Name", "tcp://h:1", nil)
	require.ErrorContains(t, err, "name of a sink")
	_, err = siem.NewSyslog("syslog", "tcp://h:1", &siem.SyslogOptions{MaxFrame: 100})
	require.ErrorContains(t, err, "MaxFrame")
}

// TestSyslog_longRecord: what does not fit a frame leaves its data out, and says so.
func TestSyslog_longRecord(t *testing.T) {
	t.Parallel()
	sch := loadSchema(t)
	s, err := siem.NewSyslog("syslog", "tcp://127.0.0.1:1", &siem.SyslogOptions{MaxFrame: 2048})
	require.NoError(t, err)
	body := fmt.Appendf(nil, `{"kind":"reeve/record/v1","id":%q,"at":"2026-01-15T12:00:00Z","action":%q,"outcome":"done","resource":%q,"tenant":%q,"actor":{"id":%q,"kind":"user","roles":[%q]},"subject":{"id":%q,"kind":"user"},"reason":%q,"data":%q}`,
		uuid.New(), strings.Repeat("a", 3000), strings.Repeat("ü", 3000), strings.Repeat("t", 3000), strings.Repeat("u", 3000), strings.Repeat("r", 3000), strings.Repeat("s", 3000), strings.Repeat("😀", 3000), strings.Repeat("d", 9000))
	e := mapper.Record(ledger.Record{N: 9, Body: body})
	frame, err := s.Frame(e)
	require.NoError(t, err)
	require.LessOrEqual(t, len(frame), 2048)
	m, err := rfc5424.NewParser().Parse(frame)
	require.NoError(t, err)
	msg := *m.(*rfc5424.SyslogMessage).Message
	require.NoError(t, sch.validate([]byte(msg)))
	var back siem.Event
	require.NoError(t, json.Unmarshal([]byte(msg), &back))
	require.True(t, back.Metadata.IsTruncated)
	require.Equal(t, e.RawDataHash, back.RawDataHash)
	require.Equal(t, int64(9), *back.Metadata.Sequence)
	require.Equal(t, strings.Repeat("s", 24), back.Unmapped.Subject.UID)
}

func TestHTTP_signed(t *testing.T) {
	t.Parallel()
	for _, o := range []siem.HTTPOptions{{}, {Secret: []byte("short")}, {Token: "a\r\nb"}} {
		_, err := siem.NewHTTP("http", "https://example.com/", &o)
		require.Error(t, err)
	}
	guarded, err := siem.NewHTTP("http", "http://127.0.0.1:9/", &siem.HTTPOptions{Token: "t"})
	require.NoError(t, err)
	err = guarded.Send(t.Context(), siem.Batch{ID: "b"})
	require.ErrorContains(t, err, "prohibited address", "the guarded client stands in front of it")
}
