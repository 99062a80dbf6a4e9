package outgoing

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

var (
	// ErrProhibited: the address may not be called. Nothing was sent.
	ErrProhibited = errors.New("outgoing: prohibited address")
	// ErrTooLarge: the response body is longer than the limit.
	ErrTooLarge = errors.New("outgoing: response body too large")
)

// Allowed is an exception from the guard: addresses that are called although they
// are not public.
type Allowed struct {
	Prefix  netip.Prefix
	Ports   []uint16 // no port is allowed unless it is listed
	AnyPort bool
}

// Options tunes a client. The zero value is ready to use and reaches public
// addresses only.
type Options struct {
	Allow   []Allowed
	Ports   []uint16      // of public addresses; default 80 and 443, [Dialer] needs its own
	Timeout time.Duration // of a whole exchange, body included; default 15s
	MaxBody int64         // most bytes of a response body; default 1 MiB
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if len(c.Ports) == 0 {
		c.Ports = []uint16{80, 443}
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Second
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 1 << 20
	}
	return c
}

// Loopback lets a demo or a test call its own machine, on any port.
func Loopback() []Allowed {
	return []Allowed{
		{Prefix: netip.MustParsePrefix("127.0.0.0/8"), AnyPort: true},
		{Prefix: netip.MustParsePrefix("::1/128"), AnyPort: true},
	}
}

// New makes a client.
func New(opts *Options) *http.Client {
	o := opts.withDefaults()
	return &http.Client{
		Transport: &transport{maxBody: o.MaxBody, next: &http.Transport{
			DialContext:            Dialer(&o).DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  o.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    4,
			MaxIdleConns:           100,
			IdleConnTimeout:        30 * time.Second,
		}},
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Dialer is the guard on a TCP dialer.
func Dialer(opts *Options) *net.Dialer {
	o := opts.withDefaults()
	public := ssrf.New(ssrf.WithPorts(o.Ports...))
	return &net.Dialer{
		Timeout: min(5*time.Second, o.Timeout),
		Control: func(network, address string, c syscall.RawConn) error {
			if (network == "tcp4" || network == "tcp6") && excepted(o.Allow, address) {
				return nil
			}
			if err := public.Safe(network, address, c); err != nil {
				return fmt.Errorf("%w: %w", ErrProhibited, err)
			}
			return nil
		},
	}
}

func excepted(allow []Allowed, address string) bool {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(allow, func(a Allowed) bool {
		return a.Prefix.Contains(at.Addr()) && (a.AnyPort || slices.Contains(a.Ports, at.Port()))
	})
}

type transport struct {
	next    *http.Transport
	maxBody int64
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &capped{ReadCloser: res.Body, left: t.maxBody}
	return res, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t *transport) CloseIdleConnections() { t.next.CloseIdleConnections() }

type capped struct {
	io.ReadCloser
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 { // one more byte tells a body of exactly the limit from a longer one
		p = p[:c.left+1]
	}
	n, err := c.ReadCloser.Read(p)
	if int64(n) > c.left {
		n, err = int(c.left), ErrTooLarge
	}
	c.left -= int64(n)
	return n, err
}
