// Package s3sink keeps what a ledger publishes in a bucket of an object store that
// speaks S3: checkpoints, receipts, and if wanted the log itself as C2SP tiles, which any
// client of that form reads from the bucket.
//
// Start with [New] and give the [Sink] to publish.New and publish.NewReceipts. Every
// object but two is written once: where another stands already nothing is written, and
// the error is publish.ErrDiffers. Object lock keeps even the bucket's owner from
// changing them.
//
// Objects, below the prefix: checkpoints/<size>, receipts/<stream>/<number>, tile/…, and
// the newest "checkpoint" and "keys". Errors: publish.ErrDiffers, ledger.ErrForked.
// Tables: none. Safe for concurrent use.
package s3sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// Options tunes a Sink. Address, AccessKey, SecretKey and Transport are required.
type Options struct {
	Address   string            // https://host/bucket or https://host/bucket/prefix
	Region    string            // default us-east-1
	AccessKey string            // who writes
	SecretKey string            // its secret
	Transport http.RoundTripper // see governance/outgoing
	Tiles     bool              // also the log itself, with every record's body
	Lock      time.Duration     // how long nobody can change what is written; 0: the bucket's own rule
	Now       func() time.Time  // default time.Now
}

// Sink writes into a bucket. Use [New].
type Sink struct {
	log    *ledger.Log
	client *minio.Client
	opts   Options
	bucket string
	prefix string
	name   string
}

var (
	_ publish.Sink        = (*Sink)(nil)
	_ publish.Rememberer  = (*Sink)(nil)
	_ publish.ReceiptSink = (*Sink)(nil)
)

// ParseAddress finds the bucket and the prefix in an address.
func ParseAddress(address string) (u *url.URL, bucket, prefix string, err error) {
	u, err = url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, "", "", fmt.Errorf("%q is not an http or https address of a bucket", address)
	}
	bucket, prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if bucket == "" {
		return nil, "", "", fmt.Errorf("%q names no bucket", address)
	}
	if prefix != "" {
		prefix += "/"
	}
	return u, bucket, prefix, nil
}

// New makes a Sink of a log. It calls nobody.
func New(log *ledger.Log, opts *Options) (*Sink, error) {
	if log == nil || opts == nil {
		return nil, errors.New("s3sink: log and options are required")
	}
	o := *opts
	u, bucket, prefix, err := ParseAddress(o.Address)
	if err != nil {
		return nil, fmt.Errorf("s3sink: %w", err)
	}
	if o.AccessKey == "" || o.SecretKey == "" || o.Transport == nil {
		return nil, errors.New("s3sink: AccessKey, SecretKey and Transport are required")
	}
	if o.Lock < 0 {
		return nil, fmt.Errorf("s3sink: Lock is %s, want 0 or more", o.Lock)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: u.Scheme == "https",
		Region: o.Region, Transport: o.Transport, MaxRetries: 2,
	})
	if err != nil {
		return nil, fmt.Errorf("s3sink: %w", err)
	}
	return &Sink{log, client, o, bucket, prefix, "s3:" + u.Host + "/" + bucket + "/" + prefix}, nil
}

// Name implements publish.Sink.
func (s *Sink) Name() string { return s.name }

// Last implements publish.Rememberer.
func (s *Sink) Last(ctx context.Context) ([]byte, error) {
	b, _, err := s.get(ctx, offline.CheckpointFile)
	return b, err
}

// Publish implements publish.Sink: the newest checkpoint becomes visible after everything
// that it signs.
func (s *Sink) Publish(ctx context.Context, c ledger.Checkpoint) error {
	before, etag, err := s.get(ctx, offline.CheckpointFile)
	if err != nil {
		return err
	}
	if s.opts.Tiles {
		from, err := s.complete(ctx, sizeOf(before))
		if err == nil {
			err = s.tiles(ctx, from, c.Size)
		}
		if err != nil {
			return err
		}
	}
	path := fmt.Sprintf("checkpoints/%020d", c.Size)
	if there, err := s.once(ctx, path, []byte(c.Note)); err != nil {
		if !errors.Is(err, publish.ErrDiffers) {
			return err
		}
		if serr := s.log.Saw(ctx, there); serr != nil {
			return fmt.Errorf("%w: %w", err, serr)
		}
		if headOf(there) != headOf([]byte(c.Note)) { // the same head may have other cosignatures
			return err
		}
	}
	return s.put(ctx, offline.CheckpointFile, []byte(c.Note), func(o *minio.PutObjectOptions) {
		if etag == "" {
			o.SetMatchETagExcept("*")
		} else {
			o.SetMatchETag(etag) // another server's newer one is not written over
		}
	})
}

// PublishReceipts implements publish.ReceiptSink.
func (s *Sink) PublishReceipts(ctx context.Context, stream string, first int64, signed []byte) error {
	_, err := s.once(ctx, fmt.Sprintf("receipts/%s/%020d", stream, first), signed)
	return err
}

// complete is size, or 0 when the tiles of a log of that size were never written.
func (s *Sink) complete(ctx context.Context, size int64) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	n := (size - 1) / offline.Width
	_, err := s.client.StatObject(ctx, s.bucket, s.prefix+offline.TilePath(0, n, int(size-n*offline.Width)), minio.StatObjectOptions{})
	switch {
	case statusOf(err) == http.StatusNotFound:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look for tiles: %w", err)
	}
	return size, nil
}

// statusOf is what the store answered, 0 when it did not or all is well.
func statusOf(err error) int {
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return r.StatusCode
	}
	return 0
}

// tiles writes what a log of size has that one of before has not.
func (s *Sink) tiles(ctx context.Context, before, size int64) error {
	err := tiles.All(size, func(level int, n int64, width int) error {
		if n*offline.Width+int64(width) <= before>>(8*max(level, 0)) {
			return nil
		}
		var b []byte
		var err error
		if level == offline.EntriesLevel {
			b, err = s.log.Entries(ctx, n, width)
		} else {
			b, err = s.log.Tile(ctx, level, n, width)
		}
		if err == nil {
			_, err = s.once(ctx, offline.TilePath(level, n, width), b)
		}
		return err
	})
	if err != nil {
		return err
	}
	keys, err := s.log.Keys(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	return s.put(ctx, offline.KeysFile, keys, func(*minio.PutObjectOptions) {})
}

// once writes an object that must not be there, unless as the same bytes. What is there
// instead comes with ErrDiffers.
func (s *Sink) once(ctx context.Context, path string, b []byte) (there []byte, err error) {
	err = s.put(ctx, path, b, func(o *minio.PutObjectOptions) {
		o.SetMatchETagExcept("*")
		if s.opts.Lock > 0 {
			o.Mode, o.RetainUntilDate = minio.Compliance, s.opts.Now().Add(s.opts.Lock)
		}
	})
	if statusOf(err) != http.StatusPreconditionFailed {
		return nil, err
	}
	if there, _, err = s.get(ctx, path); err != nil || bytes.Equal(there, b) {
		return there, err
	}
	return there, fmt.Errorf("%w: %s", publish.ErrDiffers, path)
}

func (s *Sink) put(ctx context.Context, path string, b []byte, set func(*minio.PutObjectOptions)) error {
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, SendContentMd5: true}
	if !strings.HasPrefix(path, "tile/") {
		o.ContentType = "text/plain; charset=utf-8"
	}
	set(&o)
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+path, bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// mostRead is more than a full bundle of the largest entries.
const mostRead = 20 << 20

// get reads an object; nil when there is none.
func (s *Sink) get(ctx context.Context, path string) (b []byte, etag string, err error) {
	o, err := s.client.GetObject(ctx, s.bucket, s.prefix+path, minio.GetObjectOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { _ = o.Close() }()
	b, err = io.ReadAll(io.LimitReader(o, mostRead))
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok && r.Code == minio.NoSuchKey { // not: there is no such bucket
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	info, err := o.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	return b, info.ETag, nil
}

// headOf is what of a checkpoint is signed.
func headOf(checkpoint []byte) string {
	text, _, _ := strings.Cut(string(checkpoint), "\n\n")
	return text
}

// sizeOf is what a checkpoint says, 0 when it does not: then everything is written again.
func sizeOf(checkpoint []byte) int64 {
	lines := strings.SplitN(string(checkpoint), "\n", 3)
	if len(lines) < 3 {
		return 0
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0
	}
	return max(size, 0)
}
