package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance/ledger/offline"
)

func checkLog(ctx context.Context, c *call) error {
	opts := &offline.Options{Witnesses: c.witnesses}
	for _, path := range c.earlier {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		opts.Earlier = append(opts.Earlier, string(b))
	}
	if c.entries {
		opts.Entry = func(n int64, body []byte) { _, _ = fmt.Fprintf(c.out, "%d %s\n", n, body) }
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	rep, err := offline.Check(ctx, src, c.key, opts)
	if err != nil {
		return err
	}
	if rep.Head.Origin != "" {
		_, _ = fmt.Fprintf(c.out, "%d records of %s, %d bytes read\n", rep.Head.Size, rep.Head.Origin, rep.Bytes)
	}
	for _, w := range rep.Head.Cosigned {
		_, _ = fmt.Fprintf(c.out, "witnessed by %s at %s\n", w.Witness, time.Unix(w.Time, 0).UTC().Format(time.RFC3339))
	}
	for _, name := range rep.Head.Unchecked {
		_, _ = fmt.Fprintf(c.out, "not checked: the signature of %s, whose key was not given\n", name)
	}
	if rep.Tenants > 0 {
		_, _ = fmt.Fprintf(c.out, "the sequences of %d tenants are as they were signed\n", rep.Tenants)
	}
	return c.verdict(rep.Problems, "Every record is as it was signed.")
}

func checkReceipts(ctx context.Context, c *call) error {
	var files [][]byte
	for _, path := range c.receipts {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, b)
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	rep, err := offline.CheckReceipts(ctx, src, c.key, files, nil)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.out, "%d receipts, %d records of %s\n", rep.Receipts, rep.Log.Head.Size, rep.Log.Head.Origin)
	for _, r := range rep.Waiting {
		_, _ = fmt.Fprintf(c.out, "not decided: %s of %s is as new as the last record: try again with a later export\n", r.ID, r.At.Format(time.RFC3339))
	}
	for _, s := range rep.Unclosed {
		_, _ = fmt.Fprintf(c.out, "not closed: %s, of a server that runs or was killed\n", s)
	}
	good := "Every receipt has its record."
	if len(rep.Waiting) > 0 {
		good = "Every other receipt has its record."
	}
	return c.verdict(rep.Problems, good)
}

func (c *call) verdict(problems []string, good string) error {
	if len(problems) == 0 {
		_, err := fmt.Fprintln(c.out, good)
		return err
	}
	for _, p := range problems {
		_, _ = fmt.Fprintln(c.out, "problem:", p)
	}
	return errProblems
}

func (c *call) source() (offline.Source, error) {
	if !strings.HasPrefix(c.arg, "http://") && !strings.HasPrefix(c.arg, "https://") {
		return offline.Dir(c.arg), nil
	}
	header := http.Header{}
	for _, h := range c.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("%w: -header %q is not 'Name: value'", errUsage, h)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return offline.NewURL(c.arg, nil, header)
}

func checkProof(_ context.Context, c *call) error {
	b, err := os.ReadFile(c.arg)
	if err != nil {
		return err
	}
	var p offline.Opened
	if c.body != "" {
		body, err := os.ReadFile(c.body)
		if err != nil {
			return err
		}
		if p.Proof, err = offline.ParseProof(string(b), body); err != nil {
			return c.verdict([]string{err.Error()}, "")
		}
	} else if err := json.Unmarshal(b, &p); err != nil {
		return c.verdict([]string{fmt.Sprintf("%s is no proof in JSON: %v", c.arg, err)}, "")
	}
	fields, err := offline.VerifyOpened(c.key, p)
	if err != nil {
		return c.failed(err)
	}
	head, err := offline.ParseHead([]byte(p.Checkpoint), c.key)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.out, "record %d of %s, in the log of %d records\n", p.N, head.Origin, head.Size)
	for _, f := range fields {
		switch {
		case f.Known:
			_, _ = fmt.Fprintf(c.out, "%s is %q, as the record has it\n", f.Name, f.Value)
		case f.ErasedBy >= 0:
			_, _ = fmt.Fprintf(c.out, "%s was erased, under record %d\n", f.Name, f.ErasedBy)
		default:
			_, _ = fmt.Fprintf(c.out, "%s is not shown\n", f.Name)
		}
	}
	return c.verdict(nil, "The proof holds.")
}

func checkTenant(_ context.Context, c *call) error {
	b, err := os.ReadFile(c.arg)
	if err != nil {
		return err
	}
	var p offline.TenantProof
	if err := json.Unmarshal(b, &p); err != nil {
		return c.verdict([]string{fmt.Sprintf("%s is no tenant's proof in JSON: %v", c.arg, err)}, "")
	}
	if err := offline.VerifyTenant(c.key, p); err != nil {
		return c.failed(err)
	}
	to, err := offline.ParseHead([]byte(p.To.Checkpoint), c.key)
	if err != nil {
		return err
	}
	var from int64
	if p.From != nil {
		head, err := offline.ParseHead([]byte(p.From.Checkpoint), c.key)
		if err != nil {
			return err
		}
		from = head.Size
	}
	_, _ = fmt.Fprintf(c.out, "%d records of tenant %q in %s\n", len(p.Records), p.Tenant, to.Origin)
	return c.verdict(nil, fmt.Sprintf("These are all its records between the checkpoints of %d and of %d.", from, to.Size))
}

func (c *call) failed(err error) error {
	if errors.Is(err, offline.ErrBadProof) {
		return c.verdict([]string{err.Error()}, "")
	}
	return err
}
