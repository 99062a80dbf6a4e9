package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/governance/ledger"
)

// witness asks for a cosignature, from the size on that the witness saw last.
func (p *Publisher) witness(ctx context.Context, w Witness, c ledger.Checkpoint) error {
	old, err := p.log.Cosigned(ctx, w.Key)
	if err != nil || old == c.Size {
		return err
	}
	known, lines, err := p.add(ctx, w, old, c)
	if err == nil && known >= 0 { // it knows another size than we remember
		if known > c.Size {
			now, err := p.log.Sealed(ctx) // another server may have asked it for more meanwhile
			if err == nil && known > now {
				err = fmt.Errorf("it signed a tree of %d, here are %d: %w", known, now, ledger.ErrForked)
			}
			return err
		}
		asked := known
		if known, lines, err = p.add(ctx, w, known, c); err == nil && known >= 0 {
			if known == asked && known == c.Size { // as many, and yet not what it signed
				return fmt.Errorf("it signed another tree of %d: %w", known, ledger.ErrForked)
			}
			return fmt.Errorf("it wants proof from %d, and then from another size", known)
		}
	}
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(lines) { // one of them may be of another kind
		if err := p.log.Cosign(ctx, c, w.Key, line); err == nil {
			return nil
		} else {
			errs = append(errs, err)
		}
	}
	return errors.Join(append([]error{errors.New("it answers without a signature by its key")}, errs...)...)
}

// maxAnswer is more than a few signatures need.
const maxAnswer = 16 << 10

// add calls add-checkpoint. known is -1, or the size that the witness wants proof from.
func (p *Publisher) add(ctx context.Context, w Witness, old int64, c ledger.Checkpoint) (known int64, lines string, err error) {
	proof, err := p.log.ProveGrowth(ctx, old, c.Size)
	if err != nil {
		return -1, "", err
	}
	var body strings.Builder
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof {
		body.WriteString(h.String() + "\n")
	}
	body.WriteString("\n" + c.Note)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+"/add-checkpoint", strings.NewReader(body.String()))
	if err != nil {
		return -1, "", err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := p.opts.Client.Do(req)
	if err != nil {
		return -1, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return -1, "", err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return -1, string(b), nil
	case http.StatusConflict:
		text := strings.TrimSuffix(string(b), "\n")
		known, err := strconv.ParseInt(text, 10, 64)
		if err != nil || known < 0 || strconv.FormatInt(known, 10) != text {
			return -1, "", errors.New("it answers 409 without a size")
		}
		return known, "", nil
	case http.StatusNotFound:
		return -1, "", errors.New("it does not know this log: its operator has to add the key")
	case http.StatusForbidden:
		return -1, "", errors.New("it knows the log under another key")
	case http.StatusUnprocessableEntity:
		return -1, "", fmt.Errorf("it finds that the log did not only grow since %d: %w", old, ledger.ErrForked)
	}
	return -1, "", fmt.Errorf("it answers %s", res.Status)
}
