package playbook

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/reevehq/reeve/governance"
)

//go:embed shipped
var shipped embed.FS

// Source is a document that this package ships.
type Source struct {
	Name    string
	Runbook bool
	Text    string
}

// Shipped are the playbooks and runbooks that come with the product.
func Shipped() []Source {
	var out []Source
	names, err := fs.Glob(shipped, "shipped/*.yaml")
	if err != nil {
		return nil
	}
	for _, n := range names {
		text, err := fs.ReadFile(shipped, n)
		if err != nil {
			return nil
		}
		name, runbook := strings.CutSuffix(strings.TrimSuffix(strings.TrimPrefix(n, "shipped/"), ".yaml"), ".runbook")
		out = append(out, Source{name, runbook, string(text)})
	}
	return out
}

// InstallShipped stores the shipped documents of which no version is there yet.
// Playbooks begin in shadow like any other. Those that need a kind of step which
// this service lacks are left out and named in skipped. It is for start-up.
func (s *Service) InstallShipped(ctx context.Context) (skipped []string, err error) {
	for _, src := range Shipped() {
		var unfit *governance.InvalidError
		if !src.Runbook {
			if _, err := s.compile(src.Text); errors.As(err, &unfit) {
				skipped = append(skipped, src.Name+": "+err.Error())
				continue
			}
		}
		if err := s.install(ctx, src); err != nil {
			return skipped, fmt.Errorf("install %s: %w", src.Name, err)
		}
	}
	return skipped, nil
}

func (s *Service) install(ctx context.Context, src Source) error {
	id := governance.System("install")
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if src.Runbook {
			have, err := tx.NewSelect().Model((*runbookRow)(nil)).Where("name = ?", src.Name).Exists(ctx)
			if err != nil || have {
				return err
			}
			d, err := ParseRunbook(src.Text)
			if err != nil {
				return err
			}
			return s.putRunbookTx(ctx, tx, id, d, src.Text)
		}
		have, err := tx.NewSelect().Model((*versionRow)(nil)).Where("name = ?", src.Name).Exists(ctx)
		if err != nil || have {
			return err
		}
		v, err := s.storeTx(ctx, tx, src.Text, "")
		if err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.install", Resource: governance.Ref{Kind: "playbook", ID: v.Name}, Data: map[string]any{"version": v.Version, "hash": v.Hash}})
		return err
	})
}
