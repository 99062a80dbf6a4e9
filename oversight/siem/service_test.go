package siem_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/siem"
)

func each(t *testing.T, fn func(t *testing.T, e *govtest.Env)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), siem.Schema()}, Rates: map[string]int64{}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "cs_agent")
		e.People.Put("ada", "gov_approver")
		e.People.Put("sue", "secops")
		e.People.Allow("cs_agent", "session:start", "session:read", "tenant:credit", "tenant:export")
		e.People.Allow("gov_approver", "approval:vote", "approval:read")
		e.People.Allow("secops", siem.PermissionWrite)
		fn(t, e)
	})
}

// write puts n records into the log and seals them.
func write(t *testing.T, e *govtest.Env, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.RecordTx(ctx, tx, e.As("dana"), governance.Record{Action: "tenant.note", Resource: governance.Ref{Kind: "tenant", ID: fmt.Sprint(i)}})
			return err
		}))
	}
	e.Drain(t)
}

func newService(t *testing.T, e *govtest.Env, sinks ...siem.Sink) *siem.Service {
	t.Helper()
	s, err := siem.New(e.Kernel, &siem.Options{Sinks: sinks, Batch: 5, Deadline: time.Second})
	require.NoError(t, err)
	return s
}

func fileSink(t *testing.T) (*siem.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "reeve.jsonl")
	f, err := siem.NewFile("file", path)
	require.NoError(t, err)
	return f, path
}

// readLines gives the events of a file of JSON lines, by encoding/json.
func readLines(t *testing.T, b []byte) []siem.Event {
	t.Helper()
	var out []siem.Event
	for line := range bytes.Lines(b) {
		var e siem.Event
		require.NoError(t, json.Unmarshal(line, &e), "%s", line)
		out = append(out, e)
	}
	return out
}

func readFile(t *testing.T, path string) []siem.Event {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return readLines(t, b)
}

// leaves are the sequence numbers of the events that have one.
func leaves(events []siem.Event) []int64 {
	var out []int64
	for _, e := range events {
		if e.Metadata.Sequence != nil {
			out = append(out, *e.Metadata.Sequence)
		}
	}
	return out
}

// requireEvery checks that every leaf below n came, first in order.
func requireEvery(t *testing.T, got []int64, n int64) {
	t.Helper()
	next := int64(0)
	for _, l := range got {
		require.LessOrEqual(t, l, next, "leaf %d came before %d", l, next)
		if l == next {
			next++
		}
	}
	require.Equal(t, n, next)
}

func status(t *testing.T, s *siem.Service, name string) siem.Status {
	t.Helper()
	sts, err := s.Statuses(t.Context())
	require.NoError(t, err)
	for _, st := range sts {
		if st.Name == name {
			return st
		}
	}
	t.Fatalf("no sink %s", name)
	return siem.Status{}
}

func sealed(t *testing.T, e *govtest.Env) int64 {
	t.Helper()
	e.Drain(t)
	n, err := e.Kernel.Ledger().Sealed(t.Context())
	require.NoError(t, err)
	return n
}

// TestService_everyRecordOfARun drives the kernel through holds, votes, denials,
// impersonation, exports and alerts, and checks every event that leaves it.
func TestService_everyRecordOfARun(t *testing.T) {
	t.Parallel()
	sch := loadSchema(t)
	each(t, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		f, path := fileSink(t)
		s := newService(t, e, f)
		credit := governance.Define(oversight.ActionCredit, oversight.CreditSpec(nil, "EUR"), func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
			return governance.Result{Data: "given"}, nil
		})
		export := governance.Define(oversight.ActionExport, oversight.ExportSpec([]string{"users"}, func(context.Context, *governance.Tx, oversight.Export) (int64, error) { return 3, nil }),
			func(context.Context, *governance.Tx, oversight.Export) (governance.Result, error) {
				return governance.Result{}, nil
			})
		require.NoError(t, e.Kernel.Register(credit, export))
		require.NoError(t, e.Kernel.InstallPolicies(ctx, append(oversight.Policies(nil), siem.Policies()...)...))
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: "acme", Name: "Acme\u202e\n", Country: "DE", Status: governance.TenantActive, Plan: "pro"})
			return err
		}))
		ov, err := oversight.New(e.Kernel, &oversight.Options{Unrecorded: true, Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
			return governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Name: "Ulla Unmistakable", Roles: []string{"owner"}}, nil
		}})
		require.NoError(t, err)
		who := e.As("dana")
		who.Actor.Name, who.Origin = "Dana Unmistakable", governance.Origin{IP: "203.0.113.77", UserAgent: "evil\r\nagent", RequestID: "r1"}
		give := func(minor int64, reason string) error {
			_, err := credit.Do(ctx, e.Kernel, who, oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: "EUR"}}, &governance.DoOptions{Reason: reason})
			return err
		}
		require.NoError(t, give(100, "small\u2028one"))
		require.Error(t, give(100, ""), "no reason")
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, give(500_000, "large"), &held)
		ap, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, e.As("ada"), ap.ID, governance.Vote{Decision: governance.Approve, Digest: ap.Digest, Comment: "seen"})
		require.NoError(t, err)
		_, err = export.Do(ctx, e.Kernel, who, oversight.Export{Tenant: "acme", Dataset: "users"}, &governance.DoOptions{Reason: "asked"})
		require.NoError(t, err)
		out, err := ov.Start(ctx, who, oversight.Request{Tenant: "acme", User: "u1", Scope: oversight.ReadWrite, Reason: "the list is empty"})
		require.NoError(t, err)
		sess, _, err := ov.Open(ctx, who, out.Action)
		require.NoError(t, err)
		require.NoError(t, ov.End(ctx, who, sess.ID, "done"))
		require.NoError(t, e.Kernel.LogRead(ctx, e.As("ada"), "records"))
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.AlertTx(ctx, tx, governance.Alert{Key: "x:1", Title: "odd\nthing", Severity: governance.Critical, Tenant: "acme"})
			return err
		}))
		e.Drain(t)
		require.NoError(t, s.Turn(ctx)) // the sink's own first record comes with it
		n := sealed(t, e)
		require.NoError(t, s.Turn(ctx))

		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		events := readLines(t, raw)
		classes := map[int]int{}
		for line := range bytes.Lines(raw) {
			checkLine(t, sch, bytes.TrimSuffix(line, []byte("\n")))
		}
		requireEvery(t, leaves(events), n)
		for _, ev := range events {
			classes[ev.ClassUID]++
			if ev.Metadata.EventCode == "impersonation.open" {
				require.Equal(t, "user:dana", ev.Actor.User.UID)
				require.Equal(t, sess.ID.String(), ev.Session.UID)
				require.Equal(t, "product:u1", ev.Unmapped.Subject.UID)
			}
		}
		require.Len(t, classes, 4, "%v", classes)
		// What can be erased here was never copied there.
		for _, personal := range []string{"Unmistakable", "203.0.113.77"} {
			require.NotContains(t, string(raw), personal)
		}
		first, err := e.Kernel.Ledger().Leaves(ctx, 0, 1)
		require.NoError(t, err)
		require.Equal(t, string(first[0].Body), events[indexOf(leaves(events), 0, events)].RawData)
	})
}

// indexOf finds the event of a leaf.
func indexOf(_ []int64, leaf int64, events []siem.Event) int {
	for i, e := range events {
		if e.Metadata.Sequence != nil && *e.Metadata.Sequence == leaf {
			return i
		}
	}
	return -1
}

// TestService_orderIsTheLeaves: the clock going back does not change the order.
func TestService_orderIsTheLeaves(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		f, path := fileSink(t)
		s := newService(t, e, f)
		write(t, e, 3)
		e.Advance(-48 * time.Hour)
		write(t, e, 3)
		require.NoError(t, s.Turn(t.Context()))
		n := sealed(t, e)
		require.NoError(t, s.Turn(t.Context()))
		events := readFile(t, path)
		require.Len(t, leaves(events), int(n))
		requireEvery(t, leaves(events), n)
		require.Less(t, events[5].Time, events[0].Time)
	})
}

// receiver is a log collector over HTTP.
type receiver struct {
	mu     sync.Mutex
	ids    []string
	events []siem.Event
	answer func(n int) int // status of the nth call
	*httptest.Server
}

func newReceiver(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ids = append(r.ids, req.Header.Get("Idempotency-Key"))
		status := r.answer(len(r.ids))
		if status == 200 || status == 599 { // 599: it took the batch and could not say so
			for line := range bytes.Lines(b) {
				var e siem.Event
				err = errors.Join(err, json.Unmarshal(line, &e))
				r.events = append(r.events, e)
			}
		}
		if err != nil {
			status = 400
		}
		if status == 429 {
			w.Header().Set("Retry-After", "120")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) sink(t *testing.T, name string) *siem.HTTP {
	t.Helper()
	h, err := siem.NewHTTP(name, r.URL+"/secret-path", &siem.HTTPOptions{Secret: []byte(strings.Repeat("s", 24)), Client: outgoing.New(&outgoing.Options{Allow: outgoing.Loopback()})})
	require.NoError(t, err)
	return h
}

// TestService_againNeverSkipped: whatever a receiver answers, the same batch comes again
// under the same id until it is taken.
func TestService_againNeverSkipped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		answers := []int{599, 500, 429, 413, 200, 400}
		r := newReceiver(t, func(n int) int {
			if n <= len(answers) {
				return answers[n-1]
			}
			return 200
		})
		s := newService(t, e, r.sink(t, "http"))
		write(t, e, 12)
		for range 40 {
			require.NoError(t, s.Turn(t.Context()))
			e.Advance(time.Minute)
		}
		n := sealed(t, e)
		require.NoError(t, s.Turn(t.Context()))
		r.mu.Lock()
		defer r.mu.Unlock()
		requireEvery(t, leaves(r.events), n)
		require.Greater(t, len(leaves(r.events)), int(n), "the batch that was taken unseen came again")
		require.Equal(t, r.ids[0], r.ids[1], "the same batch has the same id")
		require.Equal(t, r.ids[0], r.ids[2])
		require.Equal(t, r.ids[0], r.ids[3])
		require.NotEqual(t, r.ids[0], r.ids[4], "after 413 the batch is half of it")
		st := status(t, s, "http")
		require.Zero(t, st.Lag)
		require.Zero(t, st.Failures)
		require.NotContains(t, st.Target, "secret-path")
	})
}

// TestService_hangingSink: one sink that hangs and one that is dead hold up neither the
// kernel nor a healthy one, and are tried again with growing pauses.
func TestService_hangingSink(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts by its backlog and never reads
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{siem.Schema()}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "cs_agent")
		f, path := fileSink(t)
		hang, err := siem.NewSyslog("hang", "tcp://"+l.Addr().String(), nil)
		require.NoError(t, err)
		dead, err := siem.NewSyslog("dead", "tcp://"+gone.Addr().String(), nil)
		require.NoError(t, err)
		stuck := &stuckSink{release: make(chan struct{})}
		t.Cleanup(func() { close(stuck.release) })
		s, err := siem.New(e.Kernel, &siem.Options{Sinks: []siem.Sink{hang, dead, stuck, f}, Batch: 5, Deadline: time.Second, Poll: 20 * time.Millisecond})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Kernel.Run(ctx) }()
		start := time.Now()
		for i := range 10 {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := e.Kernel.RecordTx(ctx, tx, e.As("dana"), governance.Record{Action: "tenant.note", Resource: governance.Ref{Kind: "tenant", ID: fmt.Sprint(i)}})
				return err
			}))
		}
		require.Less(t, time.Since(start), 2*time.Second, "the product waited for a sink")
		require.Eventually(t, func() bool {
			b, err := os.ReadFile(path)
			return err == nil && bytes.Count(b, []byte(`"event_code":"tenant.note"`)) >= 10
		}, 10*time.Second, 20*time.Millisecond)
		require.Eventually(t, func() bool {
			return status(t, s, "hang").Failures > 0 && status(t, s, "dead").Failures > 0 && status(t, s, "stuck").Failures > 0
		}, 10*time.Second, 20*time.Millisecond)
		require.NotZero(t, status(t, s, "dead").Error)
		require.True(t, status(t, s, "dead").NextTry.After(e.Now().Add(-time.Minute)))
		require.Equal(t, int64(1), stuck.count(), "a call that has not returned is not made again")
		stop()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("a hanging sink keeps the kernel from stopping")
		}
	})
}

// stuckSink does not even end with its context, as a write to a dead network file system.
type stuckSink struct {
	release chan struct{}
	mu      sync.Mutex
	calls   int64
}

func (*stuckSink) Name() string   { return "stuck" }
func (*stuckSink) Kind() string   { return "file" }
func (*stuckSink) Target() string { return "nowhere" }
func (s *stuckSink) Send(context.Context, siem.Batch) error {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	<-s.release
	return nil
}

func (s *stuckSink) count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// TestService_alerts: an alert is told when it is raised, again, worse and closed, once
// each, and also when it is committed behind the time it bears.
func TestService_alerts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		f, path := fileSink(t)
		s := newService(t, e, f)
		raise := func(key string) {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := e.Kernel.AlertTx(ctx, tx, governance.Alert{Key: key, Title: key, Severity: governance.Critical})
				return err
			}))
		}
		told := func() (out []string) {
			for range 3 { // nothing is told again while nothing changes
				require.NoError(t, s.Turn(t.Context()))
			}
			for _, ev := range readFile(t, path) {
				if ev.FindingInfo != nil {
					out = append(out, ev.FindingInfo.Title+" "+ev.ActivityName+" "+ev.Status)
				}
			}
			return out
		}
		raise("a")
		require.Equal(t, []string{"a Create New"}, told())
		raise("a")
		e.Advance(-30 * time.Minute)
		raise("late")
		require.ElementsMatch(t, []string{"a Create New", "a Update New", "late Create New"}, told())
		e.Advance(time.Hour)
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error { return e.Kernel.ResolveAlertTx(ctx, tx, "a") }))
		require.Equal(t, "a Close Resolved", told()[3])
		for i := range 60 {
			raise(fmt.Sprint("many-", i))
		}
		require.Len(t, told(), 4+60)
	})
}

// panicSink is foreign code that fails as badly as it can.
type panicSink struct{ *siem.File }

func (panicSink) Send(context.Context, siem.Batch) error { panic("nil map") }

// TestService_manyBatches: batches follow each other without a pause, and a sink that
// panics is one that failed.
func TestService_manyBatches(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{siem.Schema()}})
	e.People.Put("dana", "cs_agent")
	f, path := fileSink(t)
	bad, err := siem.NewFile("bad", path+".bad")
	require.NoError(t, err)
	s, err := siem.New(e.Kernel, &siem.Options{Sinks: []siem.Sink{f, panicSink{bad}}, Batch: 1})
	require.NoError(t, err)
	write(t, e, 150)
	for turns := 0; turns == 0 || len(leaves(readFile(t, path))) < 150 && turns < 50; turns++ { // a turn ends after a while on a slow machine
		require.NoError(t, s.Turn(t.Context()))
	}
	requireEvery(t, leaves(readFile(t, path)), 150)
	require.Contains(t, status(t, s, "bad").Error, "panic: nil map")
}

func TestService_behindIsAnAlert(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		ok := false
		r := newReceiver(t, func(int) int {
			if ok {
				return 200
			}
			return 503
		})
		s := newService(t, e, r.sink(t, "http"))
		write(t, e, 3)
		require.NoError(t, s.Turn(t.Context()))
		require.NoError(t, s.Watch(t.Context()))
		alerts := func() (keys []string) {
			as, err := e.Kernel.Alerts(t.Context(), governance.AlertFilter{})
			require.NoError(t, err)
			for _, a := range as {
				keys = append(keys, a.Key)
			}
			return keys
		}
		require.Empty(t, alerts())
		e.Advance(16 * time.Minute)
		require.NoError(t, s.Watch(t.Context()))
		require.Equal(t, []string{"siem.behind:http"}, alerts())
		st := status(t, s, "http")
		require.Positive(t, st.Lag)
		require.Greater(t, st.Oldest, 15*time.Minute)
		r.mu.Lock()
		ok = true
		r.mu.Unlock()
		e.Advance(16 * time.Minute)
		e.Drain(t)
		require.NoError(t, s.Turn(t.Context()))
		require.NoError(t, s.Watch(t.Context()))
		require.Empty(t, alerts())
	})
}

// TestService_pauseIsGuarded: whoever pauses needs a second person, and starting, pausing,
// resuming and removing a sink are records.
func TestService_pauseIsGuarded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		require.NoError(t, e.Kernel.InstallPolicies(ctx, siem.Policies()...))
		f, path := fileSink(t)
		s := newService(t, e, f)
		write(t, e, 2)
		require.NoError(t, s.Turn(ctx))
		_, err := s.Pause(ctx, e.As("dana"), "file", &governance.DoOptions{Reason: "I would like to"})
		_, denied := errors.AsType[*governance.DeniedError](err)
		require.True(t, denied, "%v", err)
		_, err = s.Pause(ctx, e.As("sue"), "file", nil)
		_, denied = errors.AsType[*governance.DeniedError](err)
		require.True(t, denied, "without a reason: %v", err)
		_, err = s.Pause(ctx, e.As("sue"), "nobody", &governance.DoOptions{Reason: "x"})
		require.ErrorIs(t, err, governance.ErrNotFound)
		_, err = s.Pause(ctx, e.As("sue"), "file", &governance.DoOptions{Reason: "the collector moves"})
		held, ok := errors.AsType[*governance.ApprovalRequiredError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, siem.Active, status(t, s, "file").State)
		ap, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, e.As("ada"), ap.ID, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		st := status(t, s, "file")
		require.Equal(t, siem.Paused, st.State)
		require.Equal(t, "user:sue", st.PausedBy)
		require.Equal(t, "the collector moves", st.PausedWhy)
		before := len(readFile(t, path))
		write(t, e, 3)
		require.NoError(t, s.Turn(ctx))
		require.Len(t, readFile(t, path), before, "nothing goes to a paused sink")

		again, err := siem.New(newKernel(t, e), &siem.Options{Sinks: []siem.Sink{f}}) // a restart
		require.NoError(t, err)
		require.NoError(t, again.Turn(ctx))
		require.Equal(t, siem.Paused, status(t, s, "file").State, "a restart does not end a pause")

		_, err = s.Resume(ctx, e.As("sue"), "file", &governance.DoOptions{Reason: "moved"})
		require.NoError(t, err)
		require.Equal(t, siem.Active, status(t, s, "file").State)
		e.Drain(t)
		require.NoError(t, s.Turn(ctx))
		require.NoError(t, siemWithout(t, e).Watch(ctx))
		require.Equal(t, siem.Removed, status(t, s, "file").State)
		n := sealed(t, e)
		acts := e.Actions(t)
		for _, want := range []string{"siem.sink.start done", "siem.sink.pause denied", "siem.sink.pause held", "siem.sink.pause done", "siem.sink.resume done", "siem.sink.stop done"} {
			require.Contains(t, acts, want)
		}
		require.NoError(t, again.Turn(ctx)) // in the settings again
		e.Drain(t)
		require.NoError(t, again.Turn(ctx))
		got := leaves(readFile(t, path))
		require.GreaterOrEqual(t, int64(len(got)), n)
		requireEvery(t, got, int64(len(got)))
	})
}

func newKernel(t *testing.T, e *govtest.Env) *governance.Kernel {
	t.Helper()
	k, err := governance.New(e.DB, &governance.Options{Authorizer: e.People, Directory: e.People, LedgerKey: testKey(t)})
	require.NoError(t, err)
	return k
}

func siemWithout(t *testing.T, e *govtest.Env) *siem.Service {
	t.Helper()
	s, err := siem.New(newKernel(t, e), nil)
	require.NoError(t, err)
	return s
}
