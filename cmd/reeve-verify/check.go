package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

func checkLog(ctx context.Context, c *call) error {
	opts := &offline.Options{Witnesses: c.witnesses, Quorum: c.quorum}
	var err error
	if opts.Earlier, err = c.kept(); err != nil {
		return err
	}
	if c.entries {
		opts.Entry = func(n int64, body []byte) { _, _ = fmt.Fprintf(c.out, "%d %s\n", n, body) }
	}
	src, done, err := c.source()
	if err != nil {
		return err
	}
	defer done()
	rep, err := offline.Check(ctx, src, c.key, opts)
	if err != nil {
		return err
	}
	if rep.Head.Origin != "" {
		_, _ = fmt.Fprintf(c.out, "%d records of %s, %d bytes read\n", rep.Head.Size, rep.Head.Origin, rep.Bytes)
	}
	c.cosigned(rep.Head.Cosigned, rep.Head.Unchecked)
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
	src, done, err := c.source()
	if err != nil {
		return err
	}
	defer done()
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

// kept reads the checkpoints kept from before.
func (c *call) kept() ([]string, error) {
	var out []string
	for _, path := range c.earlier {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, nil
}

func checkGrowth(_ context.Context, c *call) error {
	earlier, err := c.kept()
	if err != nil {
		return err
	}
	f, err := os.Open(c.arg)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	rep, err := offline.CheckGrowth(f, c.key, earlier, c.policy())
	if err != nil {
		return c.failed(err)
	}
	_, _ = fmt.Fprintf(c.out, "%d records of %s, from record %d on\n", rep.Head.Size-rep.From, rep.Head.Origin, rep.From)
	c.cosigned(rep.Head.Cosigned, rep.Head.Unchecked)
	if !rep.Anchored {
		return c.verdict(nil, fmt.Sprintf("Every record is as it was signed. That they follow what you know of the first %d needs -earlier.", rep.From))
	}
	return c.verdict(nil, fmt.Sprintf("These are all by which the log grew from %d records to %d.", rep.From, rep.Head.Size))
}

// cosigned says who signed beside the log.
func (c *call) cosigned(by []cosign.Signature, unknown []string) {
	for _, w := range by {
		_, _ = fmt.Fprintf(c.out, "witnessed by %s at %s\n", w.Witness, time.Unix(w.Time, 0).UTC().Format(time.RFC3339))
	}
	for _, name := range unknown {
		_, _ = fmt.Fprintf(c.out, "not checked: the signature of %s, whose key was not given\n", name)
	}
}

// source opens what is to be checked; call done afterwards.
func (c *call) source() (src offline.Source, done func(), err error) {
	done = func() {}
	if !strings.HasPrefix(c.arg, "http://") && !strings.HasPrefix(c.arg, "https://") {
		if info, err := os.Stat(c.arg); err == nil && info.Mode().IsRegular() {
			z, err := zip.OpenReader(c.arg)
			if err != nil {
				return nil, done, fmt.Errorf("%s: %w", c.arg, err)
			}
			return offline.Files{FS: z}, func() { _ = z.Close() }, nil
		}
		return offline.Dir(c.arg), done, nil
	}
	header := http.Header{}
	for _, h := range c.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, done, fmt.Errorf("%w: -header %q is not 'Name: value'", errUsage, h)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	src, err = offline.NewURL(c.arg, nil, header)
	return src, done, err
}

func (c *call) policy() cosign.Policy {
	return cosign.Policy{Witnesses: c.witnesses, Quorum: c.quorum}
}

func checkPack(_ context.Context, c *call) error {
	f, err := os.Open(c.arg)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	rep, err := pack.VerifyWitnessed(f, info.Size(), c.key, c.policy())
	if err != nil {
		return err
	}
	if rep.ID != "" {
		_, _ = fmt.Fprintf(c.out, "%s %s, built %s by %s\n%d files, %d records, %d votes, %d chunks\n", rep.Subject.Kind, rep.Subject.ID, rep.MadeAt.UTC().Format(time.RFC3339), rep.MadeBy, rep.Files, rep.Records, rep.Votes, rep.Chunks)
	}
	c.cosigned(rep.Cosigned, rep.Unknown)
	for _, n := range rep.Notes {
		_, _ = fmt.Fprintln(c.out, "note:", n)
	}
	problems := make([]string, len(rep.Problems))
	for i, p := range rep.Problems {
		problems[i] = p.String()
	}
	return c.verdict(problems, "Every byte is as it was built, and every record is in the log.")
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
