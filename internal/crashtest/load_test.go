package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/oversight"
)

// clients is how many send at once.
const clients = 24

// keyPrefix begins the Idempotency-Key of every call.
const keyPrefix = "crash-"

// call is one request with an effect and what was answered. Status 0 is no answer:
// only the database knows.
type call struct {
	kind   string // credit, plan, export, vote
	key    string // its Idempotency-Key and its reason, by which its rows are found
	who    string // whose key of the server's it uses
	path   string
	body   map[string]any
	tenant string

	status   int
	action   string // or the approval's id
	replayed bool
	answer   string // of a refusal
}

// client talks to one start of the server.
type client struct {
	http *http.Client
	base string
	keys map[string]string
}

func newClient(s *server) *client {
	return &client{&http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients * 2}}, s.API, s.Keys}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) do(ctx context.Context, who, method, path, idem string, body any) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.keys[who])
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if idem != "" {
		req.Header.Set("Idempotency-Key", idem)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body) // half an answer is none
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, b, nil
}

// get reads a list or a thing into out.
func (c *client) get(t *testing.T, who, path string, out any) {
	t.Helper()
	status, b, err := c.do(t.Context(), who, http.MethodGet, path, "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s: %s", path, b)
	require.NoError(t, json.Unmarshal(b, out))
}

// send makes the call and notes the answer.
func (c *client) send(ctx context.Context, k *call) error {
	status, b, err := c.do(ctx, k.who, http.MethodPost, k.path, k.key, k.body)
	if err != nil {
		return err
	}
	var a struct {
		Action   string `json:"action"`
		Approval string `json:"approval"`
		Replayed bool   `json:"replayed"`
		ID       string `json:"id"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	k.status, k.replayed = status, a.Replayed
	switch {
	case status == http.StatusAccepted:
		k.action = a.Approval
	case status == http.StatusOK && k.kind != "vote":
		k.action = a.Action
	case status != http.StatusOK:
		k.answer = string(b)
	}
	return nil
}

// pending is an approval that a voter may decide on.
type pending struct {
	ID     string `json:"id"`
	Action string `json:"action"`
	Digest string `json:"digest"`
}

// load is the requests of one round, by many clients at once.
type load struct {
	c       *client
	tenants []string
	round   int

	inFlight atomic.Int64
	stopped  atomic.Bool
	serial   atomic.Int64
}

// run sends until the server is gone and says what was sent. unanswered is how many
// requests were on the way at the moment of the kill.
func (l *load) run(ctx context.Context, seed uint64, wait time.Duration, kill func()) (calls []*call, unanswered int64) {
	var wg sync.WaitGroup
	sent := make([][]*call, clients)
	for i := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			if i%6 == 5 {
				sent[i] = l.vote(ctx, rng, []string{"gov_approver", "gov_approver_2"}[i%2])
				return
			}
			sent[i] = l.write(ctx, rng)
		})
	}
	time.Sleep(wait) // the random moment
	unanswered = l.inFlight.Load()
	l.stopped.Store(true)
	kill()
	wg.Wait()
	for _, s := range sent {
		calls = append(calls, s...)
	}
	return calls, unanswered
}

// write asks for credits, plan changes and exports.
func (l *load) write(ctx context.Context, rng *rand.Rand) (out []*call) {
	for !l.stopped.Load() {
		k := l.next(rng)
		out = append(out, k)
		if !l.attempt(ctx, k) {
			return out
		}
	}
	return out
}

func (l *load) attempt(ctx context.Context, k *call) bool {
	l.inFlight.Add(1)
	err := l.c.send(ctx, k)
	if err == nil {
		l.inFlight.Add(-1)
	}
	return err == nil
}

func (l *load) next(rng *rand.Rand) *call {
	tenant := l.tenants[rng.IntN(len(l.tenants))]
	k := &call{key: fmt.Sprintf(keyPrefix+"%d-%d", l.round, l.serial.Add(1)), tenant: tenant, who: "cs_agent"}
	switch n := rng.IntN(100); {
	case n < 12:
		k.kind, k.path = "plan", "/tenants/"+tenant+"/plan"
		k.body = map[string]any{"plan": []string{"starter", "team", "business", "enterprise"}[rng.IntN(4)], "reason": k.key}
	case n < 14:
		k.kind, k.path, k.who = "export", "/tenants/"+tenant+"/exports", "super_admin"
		k.body = map[string]any{"dataset": "users", "reason": k.key}
	default:
		amount := fmt.Sprintf("%d.%02d", rng.IntN(3), 1+rng.IntN(99))
		if n > 92 { // soon over the limit, so that it is held
			amount = fmt.Sprintf("%d.00", 300+rng.IntN(400))
		}
		k.kind, k.path = "credit", "/tenants/"+tenant+"/credits"
		k.body = map[string]any{"amount": amount, "currency": "EUR", "reason": k.key}
	}
	return k
}

// vote decides on what is held: also on what the demo left, a purge among it.
func (l *load) vote(ctx context.Context, rng *rand.Rand, who string) (out []*call) {
	for !l.stopped.Load() {
		status, b, err := l.c.do(ctx, who, http.MethodGet, "/approvals?state=pending&limit=30", "", nil)
		if err != nil {
			return out
		}
		var list struct{ Items []pending }
		if status != http.StatusOK || json.Unmarshal(b, &list) != nil {
			return append(out, &call{kind: "list", who: who, status: status, answer: string(b)})
		}
		list.Items = slices.DeleteFunc(list.Items, func(p pending) bool { return p.Action == oversight.ActionStart }) // the demo's waits for the tenant's own word
		rng.Shuffle(len(list.Items), func(i, j int) { list.Items[i], list.Items[j] = list.Items[j], list.Items[i] })
		for _, p := range list.Items[:min(len(list.Items), 5)] {
			if l.stopped.Load() {
				return out
			}
			decision := "approve"
			if rng.IntN(8) == 0 && p.Action != "retention.purge" {
				decision = "deny"
			}
			k := &call{kind: "vote", who: who, action: p.ID, path: "/approvals/" + p.ID + "/votes", body: map[string]any{"decision": decision, "digest": p.Digest, "comment": "seen"}}
			out = append(out, k)
			if !l.attempt(ctx, k) {
				return out
			}
		}
		if len(list.Items) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return out
}
