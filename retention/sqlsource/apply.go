package sqlsource

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/reevehq/reeve/retention"
)

const (
	checkpoint  = "reeve_retention_checkpoint"
	fenceRun    = "fence"
	emailDomain = "anonymised.invalid"
)

func (s *Source) makeCheckpoint(ctx context.Context) error {
	// Looking first spares a host that made the table itself the right to create tables.
	if _, err := s.strings(ctx, "SELECT run_id FROM "+checkpoint+" WHERE run_id = '"+fenceRun+"'"); err == nil {
		return s.makeFence(ctx)
	}
	_, err := s.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+checkpoint+` (
		run_id TEXT NOT NULL, seq BIGINT NOT NULL, source TEXT NOT NULL, epoch BIGINT NOT NULL, body TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (run_id, seq))`)
	if err != nil {
		// Two programs may create it at once; then it is there now.
		if _, again := s.strings(ctx, "SELECT run_id FROM "+checkpoint+" WHERE run_id = '"+fenceRun+"'"); again != nil {
			return err
		}
	}
	return s.makeFence(ctx)
}

func (s *Source) makeFence(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO "+checkpoint+" (run_id, seq, source, epoch, body, at) VALUES ('"+fenceRun+"', 0, '', 0, '', 0) ON CONFLICT (run_id, seq) DO NOTHING")
	return err
}

// raise lifts the fence to an epoch, never down. It is the first statement of a
// batch: on SQLite it takes the write lock before anything is read, on PostgreSQL it
// locks the row until the batch ends.
func (s *Source) raise(ctx context.Context, db querier, epoch int64) error {
	q := s.statement()
	q.add("UPDATE ", checkpoint, " SET epoch = CASE WHEN epoch < ", s.number(q, epoch), " THEN ", s.number(q, epoch), " ELSE epoch END WHERE run_id = '", fenceRun, "' AND seq = 0")
	res, err := db.ExecContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errors.New("fence: its row is not there"))
	}
	return nil
}

// Fence implements retention.Source.
func (s *Source) Fence(ctx context.Context, epoch int64) error { return s.raise(ctx, s.db, epoch) }

// Applied implements retention.Source.
func (s *Source) Applied(ctx context.Context, run string) ([]retention.BatchResult, error) {
	q := s.statement()
	q.add("SELECT body FROM ", checkpoint, " WHERE run_id = ", q.text(run), " AND source = ", q.text(s.m.Name), " ORDER BY seq")
	rows, err := s.strings(ctx, q.b.String(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("checkpoints: %w", err)
	}
	out := make([]retention.BatchResult, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal([]byte(r[0]), &out[i]); err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", i, err)
		}
		out[i].Replayed = true
	}
	return out, nil
}

// Apply implements retention.Source.
func (s *Source) Apply(ctx context.Context, b retention.Batch) (res retention.BatchResult, err error) {
	if b.Run == "" || b.Run == fenceRun || len(b.Keys) == 0 || b.Resolver == nil {
		return res, errors.New("sqlsource: a batch needs a run, keys and a resolver")
	}
	in, err := s.inspect(ctx)
	if err != nil {
		return res, err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return res, fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// From here on ctx does not interrupt: with SQLite an interrupted statement may end
	// the whole transaction, and what follows would commit by itself.
	ctx = context.WithoutCancel(ctx)
	restore, err := s.prepare(ctx, conn)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	opts := &sql.TxOptions{}
	if s.postgres {
		opts.Isolation = sql.LevelReadCommitted
	}
	tx, err := conn.BeginTx(ctx, opts)
	if err != nil {
		return res, fmt.Errorf("begin: %w", err)
	}
	a := &apply{s: s, tx: tx, b: b, in: in}
	if res, err = a.run(ctx); err != nil || res.Replayed {
		if back := tx.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) {
			err = errors.Join(err, back)
		}
		return res, err
	}
	if err := s.step("commit"); err != nil {
		return res, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return res, fmt.Errorf("commit: %w", err)
	}
	return res, s.step("committed")
}

// prepare sets what a batch needs on its connection: SQLite checks foreign keys only
// when told to, and overwrites what it deletes only when told to.
func (s *Source) prepare(ctx context.Context, conn *sql.Conn) (restore func() error, err error) {
	if s.postgres {
		return func() error { return nil }, nil
	}
	was := map[string]int{}
	for _, p := range []string{"foreign_keys", "secure_delete"} {
		var v int
		if err := conn.QueryRowContext(ctx, "PRAGMA "+p).Scan(&v); err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		was[p] = v
		if _, err := conn.ExecContext(ctx, "PRAGMA "+p+" = 1"); err != nil {
			return nil, fmt.Errorf("set %s: %w", p, err)
		}
	}
	return func() error {
		var errs []error
		for p, v := range was {
			_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA %s = %d", p, v))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}, nil
}

func (s *Source) step(name string) error {
	if s.opts.Step == nil {
		return nil
	}
	return s.opts.Step(name)
}

// apply is one batch at work.
type apply struct {
	s  *Source
	tx *sql.Tx
	b  retention.Batch
	in inspected

	saves   int
	related int64
	failed  map[string]string // key to reason
	touched int64
}

func (a *apply) run(ctx context.Context) (retention.BatchResult, error) {
	if err := a.s.step("begin"); err != nil {
		return retention.BatchResult{}, err
	}
	if a.s.postgres { // a row that the host's own work holds is waited for, not for ever
		if _, err := a.tx.ExecContext(ctx, "SET LOCAL lock_timeout = '10s'"); err != nil {
			return retention.BatchResult{}, err
		}
		if _, err := a.tx.ExecContext(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return retention.BatchResult{}, err
		}
	}
	if err := a.s.raise(ctx, a.tx, a.b.Epoch); err != nil {
		return retention.BatchResult{}, err
	}
	var epoch int64
	if err := a.tx.QueryRowContext(ctx, "SELECT epoch FROM "+checkpoint+" WHERE run_id = '"+fenceRun+"' AND seq = 0").Scan(&epoch); err != nil {
		return retention.BatchResult{}, fmt.Errorf("fence: %w", err)
	}
	if epoch > a.b.Epoch {
		return retention.BatchResult{}, retention.ErrStaleHolds
	}
	if res, done, err := a.before(ctx); done || err != nil {
		return res, err
	}
	todo, items, err := a.decide(ctx)
	if err != nil {
		return retention.BatchResult{}, err
	}
	if err := a.s.step("decided"); err != nil {
		return retention.BatchResult{}, err
	}
	a.failed = map[string]string{}
	work := a.remove
	if a.b.Action == retention.Anonymise {
		work = a.mask
	}
	if err := a.bisect(ctx, todo, work); err != nil {
		return retention.BatchResult{}, err
	}
	if a.touched+a.related > a.b.Budget {
		return retention.BatchResult{}, fmt.Errorf("%d rows with %d left: %w", a.touched+a.related, a.b.Budget, retention.ErrBrake)
	}
	return a.write(ctx, items)
}

// before reads the batch's checkpoint, if it was done before.
func (a *apply) before(ctx context.Context) (retention.BatchResult, bool, error) {
	q := a.s.statement()
	q.add("SELECT source, body FROM ", checkpoint, " WHERE run_id = ", q.text(a.b.Run), " AND seq = ", a.s.number(q, int64(a.b.Seq)))
	var source, body string
	err := a.tx.QueryRowContext(ctx, q.b.String(), q.args...).Scan(&source, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return retention.BatchResult{}, false, nil
	}
	if err != nil {
		return retention.BatchResult{}, false, fmt.Errorf("checkpoint: %w", err)
	}
	if source != a.s.m.Name {
		return retention.BatchResult{}, false, fmt.Errorf("checkpoint %d of run %s is of source %q", a.b.Seq, a.b.Run, source)
	}
	var res retention.BatchResult
	if err := json.Unmarshal([]byte(body), &res); err != nil {
		return res, false, fmt.Errorf("checkpoint: %w", err)
	}
	res.Replayed = true
	return res, true, nil
}

// decide reads the planned rows again, locked, and asks the resolver about each.
func (a *apply) decide(ctx context.Context) (todo []row, items []retention.Item, err error) {
	keys, err := a.s.decode(a.b.Keys)
	if err != nil {
		return nil, nil, err
	}
	children, err := a.s.childHolds(ctx, a.tx, a.in, a.b.Resolver)
	if err != nil {
		return nil, nil, err
	}
	q := a.s.statement()
	a.s.selectFacts(q, a.in)
	q.add(a.s.from(), " WHERE ", a.s.keyIn(q, "t", a.in.tables[a.s.m.Table], a.s.m.Key, keys))
	if a.s.postgres {
		q.add(" FOR UPDATE OF t")
	}
	found, err := a.s.facts(ctx, a.tx, a.in, q, children)
	if err != nil {
		return nil, nil, fmt.Errorf("read rows: %w", err)
	}
	have := make(map[string]row, len(found))
	for _, r := range found {
		have[r.Key] = r
	}
	seen := map[string]bool{}
	for _, key := range a.b.Keys {
		if seen[key] {
			return nil, nil, fmt.Errorf("a key is twice in batch %d", a.b.Seq)
		}
		seen[key] = true
		r, ok := have[key]
		switch {
		case !ok:
			items = append(items, retention.Item{Key: key, Outcome: retention.Changed, Reason: "gone"})
			continue
		case r.done:
			items = append(items, retention.Item{Key: key, Outcome: retention.Changed, Reason: "anonymised already"})
			continue
		}
		state, action := a.b.Resolver.Decide(r.Facts, a.b.AsOf)
		switch {
		case state == retention.Held:
			items = append(items, retention.Item{Key: key, Outcome: retention.SkippedHeld, Reason: "legal hold"})
		case state != retention.Due:
			items = append(items, retention.Item{Key: key, Outcome: retention.Changed, Reason: "no longer due: " + string(state)})
		case action != a.b.Action:
			items = append(items, retention.Item{Key: key, Outcome: retention.Changed, Reason: "another action is due now"})
		default:
			todo = append(todo, r)
		}
	}
	return todo, items, nil
}

// bisect does work on rows. When the host refuses them, it halves them down to the
// single row that is refused, and goes on with the others.
func (a *apply) bisect(ctx context.Context, rows []row, work func(ctx context.Context, rows []row) (int64, error)) error {
	if len(rows) == 0 {
		return nil
	}
	a.saves++
	save := fmt.Sprintf("reeve_%d", a.saves)
	if _, err := a.tx.ExecContext(ctx, "SAVEPOINT "+save); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	related, err := work(ctx, rows)
	if err == nil {
		a.related += related
		a.touched += int64(len(rows))
		_, err = a.tx.ExecContext(ctx, "RELEASE SAVEPOINT "+save)
		return err
	}
	reason, refused := constraint(err)
	if !refused {
		return err
	}
	// This also notices a trigger of the host that has rolled everything back.
	for _, q := range []string{"ROLLBACK TO SAVEPOINT ", "RELEASE SAVEPOINT "} {
		if _, back := a.tx.ExecContext(ctx, q+save); back != nil {
			return errors.Join(err, back)
		}
	}
	if len(rows) == 1 {
		a.failed[rows[0].Key] = reason
		return nil
	}
	if err := a.bisect(ctx, rows[:len(rows)/2], work); err != nil {
		return err
	}
	return a.bisect(ctx, rows[len(rows)/2:], work)
}

// errRefused is a host that quietly did not do what it was told.
var errRefused = errors.New("the host did not change every row")

// constraint tells whether the host refused a row, and why, without the row's values.
func constraint(err error) (string, bool) {
	if errors.Is(err, errRefused) {
		return "a trigger of the host kept it", true
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		code := state.SQLState()
		switch {
		case code == "23503":
			return "other rows refer to it (SQLSTATE 23503)", true
		case len(code) == 5 && (code[:2] == "23" || code[:2] == "22" || code == "P0001"):
			return "a constraint of the host refused it (SQLSTATE " + code + ")", true
		}
		return "", false
	}
	var lite interface{ Code() int }
	if errors.As(err, &lite) && lite.Code()&0xff == 19 {
		if lite.Code() == 787 || lite.Code() == 1811 {
			return fmt.Sprintf("other rows refer to it, or a trigger refused it (SQLite %d)", lite.Code()), true
		}
		return fmt.Sprintf("a constraint of the host refused it (SQLite %d)", lite.Code()), true
	}
	return "", false
}

func parts(rows []row) [][]any {
	out := make([][]any, len(rows))
	for i, r := range rows {
		out[i] = r.parts
	}
	return out
}

// remove deletes rows with all that goes with them, the deepest first.
func (a *apply) remove(ctx context.Context, rows []row) (int64, error) {
	keys := parts(rows)
	var related int64
	for _, way := range a.s.chains(a.s.m.Children, nil) {
		c := way[len(way)-1]
		q := a.s.statement()
		if c.Detach {
			q.add("UPDATE ", a.s.in(c.Table), " SET ")
			for i, col := range c.Columns {
				if i > 0 {
					q.add(", ")
				}
				q.add(quote(col), " = NULL")
			}
		} else {
			q.add("DELETE FROM ", a.s.in(c.Table))
		}
		q.add(" WHERE ", a.s.where(q, a.in, way, keys))
		n, err := a.exec(ctx, q)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.Table, err)
		}
		related += n
	}
	if err := a.s.step("children"); err != nil {
		return 0, err
	}
	q := a.s.statement()
	q.add("DELETE FROM ", a.s.in(a.s.m.Table), " WHERE ", a.s.keyIn(q, "", a.in.tables[a.s.m.Table], a.s.m.Key, keys))
	n, err := a.exec(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", a.s.m.Table, err)
	}
	if n != int64(len(rows)) {
		return 0, errRefused
	}
	return related, nil
}

func (a *apply) exec(ctx context.Context, q *statement) (int64, error) {
	res, err := a.tx.ExecContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// mask anonymises rows in one statement; what differs from row to row is joined by
// key.
func (a *apply) mask(ctx context.Context, rows []row) (int64, error) {
	s, t := a.s, a.in.tables[a.s.m.Table]
	values, err := a.hashes(ctx, rows)
	if err != nil {
		return 0, err
	}
	q := s.statement()
	q.add("UPDATE ", s.in(s.m.Table), " AS t SET ")
	perRow := 0
	for i, m := range s.m.Anonymise {
		if i > 0 {
			q.add(", ")
		}
		c, typ := quote(m.Column), t.columns[m.Column].Type
		q.add(c, " = ")
		switch m.Method {
		case Null:
			q.add("NULL")
		case Constant:
			q.add(s.keyValue(q, m.Value, typ))
		case Year, Month:
			q.add(s.truncate(c, typ, m.Method))
		default:
			perRow++
			v := fmt.Sprintf("v.column%d", len(s.m.Key)+perRow)
			if s.postgres && typ != "text" {
				v = "CAST(" + v + " AS " + typ + ")"
			}
			q.add(v)
		}
	}
	if perRow == 0 {
		q.add(" WHERE ", s.keyIn(q, "t", t, s.m.Key, parts(rows)))
	} else {
		q.add(" FROM (VALUES ")
		for i, r := range rows {
			if i > 0 {
				q.add(", ")
			}
			q.add("(")
			for j, k := range s.m.Key {
				if j > 0 {
					q.add(", ")
				}
				q.add(s.keyValue(q, r.parts[j], t.columns[k].Type))
			}
			for _, v := range values[i] {
				q.add(", ")
				if v == nil {
					q.add("NULL")
				} else {
					q.add(q.text(*v))
				}
			}
			q.add(")")
		}
		q.add(") AS v WHERE ")
		for j, k := range s.m.Key {
			if j > 0 {
				q.add(" AND ")
			}
			q.add("t.", quote(k), fmt.Sprintf(" = v.column%d", j+1))
		}
	}
	n, err := a.exec(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.m.Table, err)
	}
	if n != int64(len(rows)) {
		return 0, errRefused
	}
	return 0, nil
}

func (s *Source) truncate(c, typ string, m Method) string {
	if s.postgres {
		return "CAST(date_trunc('" + string(m) + "', t." + c + ") AS " + typ + ")"
	}
	form := "%Y-01-01"
	if m == Month {
		form = "%Y-%m-01"
	}
	return "CASE WHEN t." + c + " IS NULL THEN NULL ELSE COALESCE(strftime('" + form + "', t." + c + "), '') END"
}

// hashes computes the values that differ from row to row, in the order of the
// columns. NULL stays NULL.
func (a *apply) hashes(ctx context.Context, rows []row) ([][]*string, error) {
	var cols []Mask
	for _, m := range a.s.m.Anonymise {
		if m.Method == Hash || m.Method == Email {
			cols = append(cols, m)
		}
	}
	if len(cols) == 0 {
		return nil, nil
	}
	if len(a.b.Secret) < 16 {
		return nil, errors.New("sqlsource: the batch has no secret to hash with")
	}
	s := a.s
	q := s.statement()
	q.add("SELECT ")
	for _, k := range s.m.Key {
		q.add(s.keyColumn("t", k, a.in.tables[s.m.Table].columns[k].Type), ", ")
	}
	for i, m := range cols {
		if i > 0 {
			q.add(", ")
		}
		q.add("CAST(t.", quote(m.Column), " AS TEXT)")
	}
	q.add(" FROM ", s.in(s.m.Table), " t WHERE ", s.keyIn(q, "t", a.in.tables[s.m.Table], s.m.Key, parts(rows)))
	found, err := a.tx.QueryContext(ctx, q.b.String(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("values to hash: %w", err)
	}
	defer func() { _ = found.Close() }()
	byKey := map[string][]*string{}
	for found.Next() {
		key := make([]any, len(s.m.Key))
		vals := make([]sql.NullString, len(cols))
		to := make([]any, 0, len(key)+len(vals))
		for i := range key {
			to = append(to, &key[i])
		}
		for i := range vals {
			to = append(to, &vals[i])
		}
		if err := found.Scan(to...); err != nil {
			return nil, fmt.Errorf("values to hash: %w", err)
		}
		text, err := retention.EncodeKey(key)
		if err != nil {
			return nil, err
		}
		out := make([]*string, len(cols))
		for i, v := range vals {
			if !v.Valid && cols[i].Method == Hash {
				continue
			}
			made := a.digest(cols[i].Column, v.String)
			if cols[i].Method == Email {
				made = "anon-" + a.digest(cols[i].Column+"\n"+text, "")[:20] + "@" + emailDomain
			}
			out[i] = &made
		}
		byKey[text] = out
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("values to hash: %w", err)
	}
	out := make([][]*string, len(rows))
	for i, r := range rows {
		if out[i] = byKey[r.Key]; out[i] == nil {
			return nil, errRefused
		}
	}
	return out, nil
}

func (a *apply) digest(column, value string) string {
	m := hmac.New(sha256.New, a.b.Secret)
	_, _ = io.WriteString(m, a.s.m.Name+"\n"+column+"\n"+value)
	return hex.EncodeToString(m.Sum(nil))[:32]
}

// write counts and stores the checkpoint, last, in the same transaction.
func (a *apply) write(ctx context.Context, items []retention.Item) (retention.BatchResult, error) {
	res := retention.BatchResult{Seq: a.b.Seq, Items: items, At: a.s.opts.Now().UTC().Truncate(time.Microsecond)}
	outcomes := map[string]retention.Outcome{}
	for _, key := range a.b.Keys {
		if reason, ok := a.failed[key]; ok {
			res.Items = append(res.Items, retention.Item{Key: key, Outcome: retention.Failed, Reason: reason})
		}
	}
	for _, it := range res.Items {
		outcomes[it.Key] = it.Outcome
	}
	if res.Items == nil {
		res.Items = []retention.Item{}
	}
	done := retention.Deleted
	if a.b.Action == retention.Anonymise {
		done = retention.Anonymised
	}
	leaves := make([][32]byte, len(a.b.Keys))
	c := &res.Counts
	for i, key := range a.b.Keys {
		o, ok := outcomes[key]
		if !ok {
			o = done
		}
		leaves[i] = retention.KeyDigest(a.b.Salt, a.s.m.Name, key, o)
		switch o {
		case retention.Deleted:
			c.Deleted++
		case retention.Anonymised:
			c.Anonymised++
		case retention.SkippedHeld:
			c.Held++
		case retention.Changed:
			c.Changed++
		case retention.Failed:
			c.Failed++
		}
	}
	c.Planned, c.Related = int64(len(a.b.Keys)), a.related
	res.Root = retention.MerkleRoot(leaves)
	body, err := json.Marshal(res)
	if err != nil {
		return res, err
	}
	q := a.s.statement()
	q.add("INSERT INTO ", checkpoint, " (run_id, seq, source, epoch, body, at) VALUES (", q.text(a.b.Run), ", ", a.s.number(q, int64(a.b.Seq)), ", ", q.text(a.s.m.Name), ", ",
		a.s.number(q, a.b.Epoch), ", ", q.text(string(body)), ", ", a.s.number(q, res.At.UnixMicro()), ")")
	if _, err := a.tx.ExecContext(ctx, q.b.String(), q.args...); err != nil {
		return res, fmt.Errorf("checkpoint: %w", err)
	}
	return res, nil
}
