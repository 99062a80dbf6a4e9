package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/reevehq/reeve/governance/ledger"
)

// File appends checkpoints to a file, with an empty line after each; its folder must be
// there. A file on another machine, or one that can only grow, is what makes it worth
// something.
type File struct{ Path string }

var (
	_ Sink       = File{}
	_ Rememberer = File{}
	_ Sink       = (*Webhook)(nil)

	_ ReceiptSink = File{}
	_ ReceiptSink = (*Webhook)(nil)
)

// Name implements Sink.
func (f File) Name() string { return "file:" + f.Path }

// Publish implements Sink: what is written is on the disk when it returns.
func (f File) Publish(_ context.Context, c ledger.Checkpoint) error { return f.add(c.Note) }

// PublishReceipts implements ReceiptSink. Use another file than for checkpoints.
func (f File) PublishReceipts(_ context.Context, _ string, _ int64, signed []byte) error {
	return f.add(string(signed))
}

func (f File) add(text string) error {
	file, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, werr := file.WriteString(text + "\n")
	return errors.Join(werr, file.Sync(), file.Close())
}

// Last implements Rememberer. A checkpoint that was torn while it was written does not
// count.
func (f File) Last(context.Context) ([]byte, error) {
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	const enough = 64 << 10 // more than two checkpoints with many cosignatures
	tail := make([]byte, min(info.Size(), enough))
	if _, err := file.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return lastNote(tail), nil
}

// lastNote finds the last whole note of a text: two parts, each before an empty line.
func lastNote(text []byte) []byte {
	parts := bytes.SplitAfter(text, []byte("\n\n"))
	for i := len(parts) - 1; i > 0; i-- {
		sigs, whole := bytes.CutSuffix(parts[i], []byte("\n\n"))
		if whole && bytes.HasPrefix(sigs, []byte("\u2014 ")) {
			return append(append([]byte{}, parts[i-1]...), append(sigs, '\n')...)
		}
	}
	return nil
}

// Webhook posts checkpoints to an address as they are, in text/plain; any answer of 2xx
// means that it is kept. What it gets is signed, so nobody on the way can change it.
type Webhook struct {
	url    string
	client *http.Client
}

// NewWebhook makes a Webhook that calls through client: see governance/outgoing.
func NewWebhook(address string, client *http.Client) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("publish: %q is not an http or https address", address)
	}
	if client == nil {
		return nil, errors.New("publish: a webhook needs a client")
	}
	return &Webhook{address, client}, nil
}

// Name implements Sink. It has no query, which may hold a secret.
func (w *Webhook) Name() string {
	name, _, _ := strings.Cut(w.url, "?")
	return "webhook:" + name
}

// Publish implements Sink.
func (w *Webhook) Publish(ctx context.Context, c ledger.Checkpoint) error { return w.post(ctx, c.Note) }

// PublishReceipts implements ReceiptSink.
func (w *Webhook) PublishReceipts(ctx context.Context, _ string, _ int64, signed []byte) error {
	return w.post(ctx, string(signed))
}

func (w *Webhook) post(ctx context.Context, text string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(text))
	if err != nil {
		return errors.New("the request could not be made") // the library's error would repeat the address
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := w.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address
		}
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}
