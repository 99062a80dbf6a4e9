package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	signednote "golang.org/x/mod/sumdb/note"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/ledger"
)

// peer lets as many writers append 600 bytes each to Reeve's ledger on SQLite and to
// Tessera on the file system: a write ends when its place in the log is durable.
func (b *bench) peer() error {
	fmt.Println("appending 600 bytes until their place in the log is durable, SQLite with synchronous=FULL beside Tessera POSIX with its standard batches and with those of 2 ms:")
	for _, writers := range []int{1, 64, 1024} {
		sides := map[string][]figures{}
		for round := range b.rounds {
			for name, open := range map[string]func(string, int) (func(context.Context, int) error, func() error, error){"reeve": openReeve, "tessera": openTessera(0), "tessera-2ms": openTessera(2 * time.Millisecond)} {
				add, end, err := open(filepath.Join(b.dir, fmt.Sprintf("%s-%d-%d", name, writers, round)), writers)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				f, err := appending(add, writers, b.length)
				if err := errors.Join(err, end()); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				sides[name] = append(sides[name], f)
			}
		}
		of := func(name string, get func(figures) float64) float64 {
			xs := make([]float64, 0, len(sides[name]))
			for _, f := range sides[name] {
				xs = append(xs, get(f))
			}
			return median(xs)
		}
		rate := func(f figures) float64 { return f.rate }
		for _, name := range []string{"reeve", "tessera", "tessera-2ms"} {
			fmt.Printf("  %4d writers  %-11s %7.0f/s  p50 %7.2f ms  p99 %7.2f ms\n", writers, name, of(name, rate),
				of(name, func(f figures) float64 { return f.p50 }), of(name, func(f figures) float64 { return f.p99 }))
		}
		fmt.Printf("  %4d writers  reeve / the better of Tessera's = %.2f\n", writers, of("reeve", rate)/max(of("tessera", rate), of("tessera-2ms", rate)))
	}
	return nil
}

func openReeve(path string, _ int) (func(context.Context, int) error, func() error, error) {
	ctx, stop := context.WithCancel(context.Background())
	db, err := opendb.Open(ctx, path+".db", &opendb.Options{MaxConns: 4})
	if err != nil {
		stop()
		return nil, nil, err
	}
	fail := func(err error) (func(context.Context, int) error, func() error, error) {
		stop()
		return nil, nil, errors.Join(err, db.Close())
	}
	if err := govdb.Migrate(ctx, db, governance.Schemas()...); err != nil {
		return fail(err)
	}
	skey, _, err := ledger.GenerateKey("bench")
	if err != nil {
		return fail(err)
	}
	log, err := ledger.New(db, skey, nil)
	if err != nil {
		return fail(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); log.Run(ctx) }() // signs meanwhile, as Tessera does
	return func(ctx context.Context, i int) error {
			tenant, body := ledgerBody(i)
			return db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: "bench", At: db.Now(), Body: []byte(body)})
				return err
			})
		}, func() error {
			stop()
			<-done
			return db.Close()
		}, nil
}

// openTessera opens a log with Tessera's standard batches, of 250 ms at most, or with
// batches of as many entries as there are writers and of that age at most. Few writers are
// served better by the second, many by the first.
func openTessera(age time.Duration) func(path string, writers int) (func(context.Context, int) error, func() error, error) {
	return func(path string, writers int) (func(context.Context, int) error, func() error, error) {
		opts := tessera.NewAppendOptions().WithCheckpointInterval(time.Second)
		if age > 0 {
			opts = opts.WithBatching(uint(writers), age)
		}
		return startTessera(path, opts)
	}
}

func startTessera(path string, opts *tessera.AppendOptions) (func(context.Context, int) error, func() error, error) {
	ctx, stop := context.WithCancel(context.Background())
	skey, _, err := signednote.GenerateKey(rand.Reader, "bench")
	if err != nil {
		stop()
		return nil, nil, err
	}
	signer, err := signednote.NewSigner(skey)
	if err != nil {
		stop()
		return nil, nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: path})
	if err != nil {
		stop()
		return nil, nil, err
	}
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, opts.WithCheckpointSigner(signer))
	if err != nil {
		stop()
		return nil, nil, err
	}
	return func(ctx context.Context, i int) error {
			_, body := ledgerBody(i)
			_, err := appender.Add(ctx, tessera.NewEntry([]byte(body)))()
			return err
		}, func() error {
			within, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			defer stop()
			return shutdown(within)
		}, nil
}

// appending lets writers add one after the other until the time is over.
func appending(add func(context.Context, int) error, writers int, length time.Duration) (figures, error) {
	took := make([][]time.Duration, writers)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	began := time.Now()
	for w := range writers {
		wg.Go(func() {
			for i := 0; time.Since(began) < length; i++ {
				t := time.Now()
				if errs[w] = add(context.Background(), i*writers+w); errs[w] != nil {
					return
				}
				took[w] = append(took[w], time.Since(t))
			}
		})
	}
	wg.Wait()
	over := time.Since(began)
	all := slices.Concat(took...)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return figures{}, errors.Join(err, errors.New("some writer did not get through"))
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return figures{float64(len(all)) / over.Seconds(), ms(all[len(all)/2]), ms(all[len(all)*99/100])}, nil
}

// overhead times one caller's guarded act beside its executor's own transaction, on
// SQLite in WAL with synchronous=NORMAL: no disk is waited for, what is left is work.
func (b *bench) overhead() error {
	ctx := context.Background()
	db, k, act, err := openBench(ctx, filepath.Join(b.dir, "normal.db"), 4, false)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var level int
	if _, err := db.Handle().ExecContext(ctx, "PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	if err := db.Handle().NewRaw("PRAGMA synchronous").Scan(ctx, &level); err != nil || level != 1 {
		return errors.Join(err, fmt.Errorf("synchronous is %d, want 1", level))
	}
	id := governance.Identity{Actor: governance.Actor{ID: "user:bench", Kind: governance.ActorUser, Person: "bench"}}
	n := 0
	sides := map[string]func() error{
		"act": func() error {
			_, err := act.Do(ctx, k, id, note{Tenant: fmt.Sprintf("t%03d", n%500), Text: "x"}, &governance.DoOptions{Reason: "because"})
			return err
		},
		"floor": func() error {
			return db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				_, err := insertNote(ctx, tx, note{Tenant: fmt.Sprintf("t%03d", n%500), Text: "x"})
				return err
			})
		},
	}
	p50, p99 := map[string][]float64{}, map[string][]float64{}
	for range b.rounds {
		for name, do := range sides {
			took := make([]time.Duration, 0, 1000)
			for range 1000 {
				n++
				d, err := timed(do)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				took = append(took, d)
			}
			slices.Sort(took)
			p50[name] = append(p50[name], float64(took[500].Nanoseconds())/1000)
			p99[name] = append(p99[name], float64(took[990].Nanoseconds())/1000)
		}
	}
	fmt.Printf("a guarded act, SQLite, synchronous=NORMAL, one caller: p50 %.0f µs, p99 %.0f µs; its own insert alone p50 %.0f µs, p99 %.0f µs; overhead p50 %.0f µs (want ≤ 300 µs)\n",
		median(p50["act"]), median(p99["act"]), median(p50["floor"]), median(p99["floor"]), median(p50["act"])-median(p50["floor"]))
	return nil
}
