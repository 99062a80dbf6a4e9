package explorer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// What can be exported.
const (
	Whole  = "whole"  // C2SP tiles with a signed manifest, as a zip
	Since  = "since"  // every record after the first From ones, as lines of JSON
	Tenant = "tenant" // every record of a tenant after the checkpoint of From, with the proof that these are all
)

// Export says what to export.
type Export struct {
	Kind      string
	From      int64
	Tenant    governance.TenantID // of Kind Tenant; empty: records of no tenant
	Witnesses int                 // of Kind Whole: the newest checkpoint that so many signed
}

func (e Export) validate() error {
	var errs []error
	switch e.Kind {
	case Whole, Since, Tenant:
	default:
		errs = append(errs, governance.Invalid("kind", "is none of whole, since and tenant"))
	}
	if e.From < 0 || e.Kind == Whole && e.From > 0 {
		errs = append(errs, governance.Invalid("from", "is no size that this export can begin at"))
	}
	if e.Tenant != "" && e.Kind != Tenant {
		errs = append(errs, governance.Invalid("tenant", "is for an export of one tenant alone"))
	}
	if e.Witnesses < 0 || e.Witnesses > 0 && e.Kind != Whole {
		errs = append(errs, governance.Invalid("witnesses", "is for an export of the whole log"))
	}
	return errors.Join(errs...)
}

// File is an export that is ready. Close removes it.
type File struct {
	Name   string
	Type   string // media type
	Size   int64  // bytes
	SHA256 string
	Check  string // the command that checks it offline, with the name of the file
	f      *os.File
}

// Read implements io.Reader.
func (f *File) Read(b []byte) (int, error) { return f.f.Read(b) }

// Close removes the file.
func (f *File) Close() error { return errors.Join(f.f.Close(), os.Remove(f.f.Name())) }

// Export writes an export into a temporary file, so that who gets it gets the whole of
// it, and records that it was made, with its digest.
func (s *Service) Export(ctx context.Context, id governance.Identity, e Export) (*File, error) {
	if err := errors.Join(s.may(ctx, id), e.validate()); err != nil {
		return nil, err
	}
	select {
	case s.exporting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.exporting }()
	f, err := os.CreateTemp("", "ledger-*")
	if err != nil {
		return nil, fmt.Errorf("export the ledger: %w", err)
	}
	out := &File{f: f}
	sum := sha256.New()
	size, err := s.write(ctx, e, out, io.MultiWriter(f, sum))
	if err == nil {
		out.SHA256 = hex.EncodeToString(sum.Sum(nil))
		out.Size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "ledger.export", Outcome: governance.OutcomeObserved, Resource: governance.Ref{Kind: "ledger", ID: e.Kind}, Tenant: e.Tenant,
				Data: map[string]any{"from": e.From, "size": size, "bytes": out.Size, "sha256": out.SHA256}})
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

func (s *Service) write(ctx context.Context, e Export, out *File, w io.Writer) (size int64, err error) {
	log := s.k.Ledger()
	verb := ""
	switch e.Kind {
	case Whole:
		var done tiles.Exported
		done, err = tiles.ExportZip(ctx, log, w, e.Witnesses)
		size, verb = done.Size, "log"
		out.Name, out.Type = fmt.Sprintf("%s-%d.zip", fileName(log.Origin()), size), "application/zip"
	case Since:
		size, err = log.WriteGrowth(ctx, e.From, w)
		verb = "growth"
		out.Name, out.Type = fmt.Sprintf("%s-%d-%d.jsonl", fileName(log.Origin()), e.From, size), "application/jsonl"
	default:
		var p ledger.TenantProof
		if p, err = log.ProveTenant(ctx, string(e.Tenant), e.From); err == nil {
			b := bufio.NewWriter(w)
			enc := json.NewEncoder(b)
			enc.SetEscapeHTML(false)
			err = errors.Join(enc.Encode(p), b.Flush())
		}
		verb = "tenant"
		if c, cerr := log.Checkpoint(ctx); cerr == nil {
			size = c.Size
		}
		out.Name, out.Type = fmt.Sprintf("%s-tenant-%s.json", fileName(log.Origin()), fileName(string(e.Tenant))), "application/json"
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return 0, fmt.Errorf("%w: %w", governance.ErrNotFound, err)
	}
	out.Check = fmt.Sprintf("reeve-verify %s -key '%s' %s", verb, log.VerifierKey(), out.Name)
	return size, err
}

// fileName keeps of a name what every file system takes.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
}
