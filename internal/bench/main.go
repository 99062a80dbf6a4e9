// Command bench measures Reeve beside a peer or a floor in the same run and prints
// ratios: the machine may be slow or busy, the ratio stays. Each figure is the median
// of five rounds, in which the sides take turns. Set REEVE_TEST_POSTGRES for the
// figures of PostgreSQL.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb/opendb"
)

func main() {
	mode := flag.String("serve", "", "run as the process under load")
	dsn := flag.String("dsn", "", "database of the process under load")
	conns := flag.Int("conns", 40, "its connections")
	pad := flag.Int("pad", 0, "bytes that it adds to each row")
	rounds := flag.Int("rounds", 5, "rounds of each figure")
	seconds := flag.Float64("seconds", 2, "length of a round")
	only := flag.String("only", "", "ledger, peer or overhead: this figure alone")
	flag.Parse()
	if *mode != "" {
		exit(serveBench(*mode, *dsn, *conns, *pad))
	}
	b := &bench{rounds: *rounds, length: time.Duration(*seconds * float64(time.Second))}
	b.only = *only
	exit(b.run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type bench struct {
	rounds int
	length time.Duration
	dir    string
	only   string
	pad    int // bytes that an audited write stores beside its note, once measured
}

func (b *bench) run() error {
	var err error
	if b.dir, err = os.MkdirTemp("", "reeve-bench"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	switch b.only {
	case "ledger":
		return b.ledger()
	case "peer":
		return b.peer()
	case "overhead":
		return b.overhead()
	}
	if err := b.decision(); err != nil {
		return fmt.Errorf("guard decision: %w", err)
	}
	if err := b.overhead(); err != nil {
		return fmt.Errorf("overhead: %w", err)
	}
	if err := b.writes("SQLite, synchronous=FULL, 64 connections", 64, 40, func(i int) (string, error) {
		return filepath.Join(b.dir, fmt.Sprintf("w%d.db", i)), nil
	}, []side{{"audited", 0}, {"floor", 0}, {"bytes", 0}, {"single", 0}}); err != nil {
		return fmt.Errorf("writes on SQLite: %w", err)
	}
	if pg := os.Getenv("REEVE_TEST_POSTGRES"); pg != "" {
		drop, schema, err := b.schemas(pg)
		if err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
		defer drop()
		if err := b.writes("PostgreSQL, 32 connections, many tenants", 32, 32, schema, []side{{"audited", 0}, {"unrecorded", 0}, {"floor", 0}, {"bytes", 0}}); err != nil {
			return fmt.Errorf("writes on PostgreSQL: %w", err)
		}
		if err := b.writes("PostgreSQL, 32 connections, one hot tenant", 32, 32, schema, []side{{"audited", 1}, {"unrecorded", 1}, {"floor", 1}, {"bytes", 1}}); err != nil {
			return fmt.Errorf("writes on PostgreSQL: %w", err)
		}
	} else {
		fmt.Println("PostgreSQL: not measured, REEVE_TEST_POSTGRES is not set")
	}
	if err := b.ledger(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := b.peer(); err != nil {
		return fmt.Errorf("beside Tessera: %w", err)
	}
	if err := b.server(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}

// decision times the guard alone: policies that match, no limit, nothing written.
func (b *bench) decision() error {
	ctx := context.Background()
	db, k, act, err := openBench(ctx, filepath.Join(b.dir, "decide.db"), 4, false)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := k.InstallPolicies(ctx, governance.Policy{ID: "why", Title: "A reason", Actions: []string{"note.*"}, Mode: governance.Enforce, NeedWhy: true}); err != nil {
		return err
	}
	id := governance.Identity{Actor: governance.Actor{ID: "user:bench", Kind: governance.ActorUser, Person: "bench"}}
	var p50s, p99s []float64
	for range b.rounds {
		var took []time.Duration
		for range 2000 {
			d, err := act.Weigh(ctx, k, id, note{Tenant: "", Text: "x"}, &governance.DoOptions{Reason: "because"})
			if err != nil {
				return err
			}
			if d.Effect != governance.Allow {
				return fmt.Errorf("decided %s", d.Effect)
			}
			took = append(took, d.Took)
		}
		slices.Sort(took)
		p50s = append(p50s, float64(took[len(took)/2].Nanoseconds())/1000)
		p99s = append(p99s, float64(took[len(took)*99/100].Nanoseconds())/1000)
	}
	fmt.Printf("guard decision without counters: p50 %.1f µs, p99 %.1f µs (want p50 ≤ 50 µs)\n", median(p50s), median(p99s))
	return nil
}

type side struct {
	mode    string
	tenants int // 0: five hundred
}

// writes lets the sides take turns under the same load and prints their rates.
func (b *bench) writes(title string, load, conns int, dsn func(int) (string, error), sides []side) error {
	rates := map[string][]float64{}
	p50, p99 := map[string][]float64{}, map[string][]float64{}
	for range b.rounds {
		for i, s := range sides {
			d, err := dsn(i)
			if err != nil {
				return err
			}
			r, err := b.round(s, d, conns, load)
			if err != nil {
				return fmt.Errorf("%s: %w", s.mode, err)
			}
			rates[s.mode] = append(rates[s.mode], r.rate)
			p50[s.mode] = append(p50[s.mode], r.p50)
			p99[s.mode] = append(p99[s.mode], r.p99)
		}
	}
	fmt.Printf("audited write through HTTP, %s:\n", title)
	for _, s := range sides {
		fmt.Printf("  %-10s %7.0f/s  p50 %6.2f ms  p99 %6.2f ms\n", s.mode, median(rates[s.mode]), median(p50[s.mode]), median(p99[s.mode]))
	}
	fmt.Printf("  audited / floor  = %.2f (one insert of the request's bytes)\n", median(rates["audited"])/median(rates["floor"]))
	fmt.Printf("  audited / bytes  = %.2f (one insert of the %d bytes that an audited write stores)\n", median(rates["audited"])/median(rates["bytes"]), b.pad)
	if r := rates["unrecorded"]; len(r) > 0 {
		fmt.Printf("  audited / unrecorded = %.2f (the same transaction without record and event, want ≥ 0.65)\n", median(rates["audited"])/median(r))
	}
	if r := rates["single"]; len(r) > 0 {
		fmt.Printf("  audited / single = %.1f\n", median(rates["audited"])/median(r))
	}
	return nil
}

type figures struct{ rate, p50, p99 float64 }

// round starts the process, warms it up and loads it.
func (b *bench) round(s side, dsn string, conns, load int) (figures, error) {
	self, err := os.Executable()
	if err != nil {
		return figures{}, err
	}
	cmd := exec.Command(self, "-pad", strconv.Itoa(b.pad), "-serve", s.mode, "-dsn", dsn, "-conns", strconv.Itoa(conns)) //nolint:noctx // ended by a signal below
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return figures{}, err
	}
	if err := cmd.Start(); err != nil {
		return figures{}, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return figures{}, fmt.Errorf("the process said no address: %w", err)
	}
	url := "http://" + strings.TrimSpace(addr) + "/notes"
	tenants := s.tenants
	if tenants == 0 {
		tenants = 500
	}
	if _, err := loadWith(url, load, tenants, b.length/4); err != nil {
		return figures{}, err
	}
	f, err := loadWith(url, load, tenants, b.length)
	if err == nil && s.mode == "audited" && b.pad == 0 {
		b.pad, err = storedBytes(dsn)
	}
	return f, err
}

// storedBytes is what an audited write stores on average, beside its note.
func storedBytes(dsn string) (int, error) {
	db, err := opendb.Open(context.Background(), dsn, &opendb.Options{MaxConns: 1})
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	var n float64
	err = db.Read().NewRaw(`SELECT (SELECT AVG(LENGTH(body) + LENGTH(tenant) + LENGTH(kind) + 32 + 36 + 16) FROM gov_record)
		+ (SELECT AVG(LENGTH(data) + LENGTH(type) + LENGTH(tenant) + LENGTH(resource) + LENGTH(actor) + 36 + 36 + 32) FROM gov_event)
		+ (SELECT AVG(LENGTH(name) + LENGTH(tenant) + LENGTH(resource) + LENGTH(digest) + LENGTH(input) + LENGTH(input_digest) + LENGTH(measures) + LENGTH(preview)
			+ LENGTH(decision) + LENGTH(policy_hash) + LENGTH(requirement) + LENGTH(state) + LENGTH(requester) + LENGTH(result) + 36 + 72) FROM gov_action)`).Scan(context.Background(), &n)
	return int(n), err
}

func loadWith(url string, load, tenants int, length time.Duration) (figures, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: load, MaxIdleConnsPerHost: load, MaxConnsPerHost: load}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	bodies := make([]string, tenants)
	for i := range bodies {
		bodies[i] = payload(i)
	}
	var failed atomic.Value
	took := make([][]time.Duration, load)
	start := time.Now()
	var wg sync.WaitGroup
	for w := range load {
		wg.Go(func() {
			for i := w; time.Since(start) < length; i += load {
				began := time.Now()
				res, err := client.Post(url, "application/json", strings.NewReader(bodies[i%tenants])) //nolint:noctx // bounded by the client's timeout
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						err = fmt.Errorf("answered %s", res.Status)
					}
				}
				if err != nil {
					failed.Store(err)
					return
				}
				took[w] = append(took[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	length = time.Since(start)
	if err, ok := failed.Load().(error); ok {
		return figures{}, err
	}
	all := slices.Concat(took...)
	if len(all) == 0 {
		return figures{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return figures{float64(len(all)) / length.Seconds(), ms(all[len(all)/2]), ms(all[len(all)*99/100])}, nil
}

// schemas gives each round a PostgreSQL schema of its own.
func (b *bench) schemas(dsn string) (drop func(), next func(int) (string, error), err error) {
	admin, err := opendb.Open(context.Background(), dsn, &opendb.Options{MaxConns: 1})
	if err != nil {
		return nil, nil, err
	}
	var made []string
	drop = func() {
		for _, s := range made {
			_, _ = admin.Handle().ExecContext(context.Background(), "DROP SCHEMA IF EXISTS "+s+" CASCADE")
		}
		_ = admin.Close()
	}
	next = func(int) (string, error) {
		name := "bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")
		if _, err := admin.Handle().ExecContext(context.Background(), "CREATE SCHEMA "+name); err != nil {
			return "", err
		}
		made = append(made, name)
		sep := "?"
		if strings.Contains(dsn, "?") {
			sep = "&"
		}
		return dsn + sep + "search_path=" + name, nil
	}
	return drop, next, nil
}

// server times the reference server's starts and weighs its processes.
func (b *bench) server() error {
	bin := filepath.Join(b.dir, "server")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/reevehq/reeve/examples/server").CombinedOutput(); err != nil { //nolint:noctx // a build
		return fmt.Errorf("build: %s: %w", out, err)
	}
	data := filepath.Join(b.dir, "demo")
	first, _, err := b.start(bin, data, false)
	if err != nil {
		return err
	}
	fmt.Printf("first console page of a new demo after %.2f s (want ≤ 10 s)\n", first.Seconds())
	var again []float64
	var weights string
	for i := range b.rounds {
		took, w, err := b.start(bin, data, i == b.rounds-1)
		if err != nil {
			return err
		}
		again = append(again, took.Seconds())
		weights = w
	}
	fmt.Printf("first console page on an existing folder after %.2f s (want ≤ 3 s)\n%s", median(again), weights)
	return nil
}

// start runs the demo until its console answers; weigh reads the memory of its
// processes when it has been idle for a while.
func (b *bench) start(bin, data string, weigh bool) (time.Duration, string, error) {
	began := time.Now()
	cmd := exec.Command(bin, "demo", "--json", "--listen", "127.0.0.1:0", "--data", data) //nolint:noctx // ended by a signal below
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, "", err
	}
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, "", fmt.Errorf("the demo said nothing: %w", err)
	}
	var ready struct {
		ConsoleURL string `json:"console_url"`
	}
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		return 0, "", err
	}
	res, err := http.Get(ready.ConsoleURL) //nolint:noctx // loopback
	if err != nil {
		return 0, "", err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, "", fmt.Errorf("the console answered %s", res.Status)
	}
	took := time.Since(began)
	if !weigh {
		return took, "", nil
	}
	time.Sleep(15 * time.Second) // what starting took is given back by then
	return took, memory(cmd.Process.Pid), nil
}

// memory lists the resident memory of a process and its children.
func memory(pid int) string {
	rss := func(pid int) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return "?"
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 64)
				if err == nil {
					return fmt.Sprintf("%.0f MB", kb/1024)
				}
			}
		}
		return "?"
	}
	text := fmt.Sprintf("idle resident memory: server %s (want ≤ 150 MB)", rss(pid))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				text += fmt.Sprintf(", plugin process %s", rss(n))
			}
		}
	}
	return text + "\n"
}
