package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// BenchmarkDo beside BenchmarkInsert: the audited write and the bare one, through the
// same writer, without HTTP.
func BenchmarkDo(b *testing.B) {
	db, k, act, err := openBench(b.Context(), filepath.Join(b.TempDir(), "b.db"), 4, false)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go func() { _ = k.Run(ctx) }()
	id := governance.Identity{Actor: governance.Actor{ID: "user:bench", Kind: governance.ActorUser, Person: "bench"}}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			in := note{Tenant: fmt.Sprintf("t%03d", n.Add(1)%500), Text: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}
			if _, err := act.Do(ctx, k, id, in, nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkInsert is the floor of BenchmarkDo.
func BenchmarkInsert(b *testing.B) {
	db, _, _, err := openBench(b.Context(), filepath.Join(b.TempDir(), "b.db"), 4, false)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := db.Do(b.Context(), func(ctx context.Context, tx *govdb.Tx) error {
				_, err := insertNote(ctx, tx, note{Tenant: "t001", Text: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"})
				return err
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
