package siem

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// SyslogOptions tunes a Syslog. The zero value is ready to use.
type SyslogOptions struct {
	TLS      *tls.Config // of a tls:// address; default the system's roots and TLS 1.2
	Hostname string      // in the frames; default the machine's
	MaxFrame int         // most bytes of a message, at least 2048; default 8192, which RFC 5425 asks receivers to take
	Dialer   *net.Dialer // default a plain one: a log collector is usually inside
}

// Syslog sends events as RFC 5424 messages over TCP or TLS, framed by octet counting (RFC
// 6587, RFC 5425). The protocol has no answer, so a batch is one connection: it is written,
// our side is closed, and the batch counts as taken when the receiver has read to that end
// and closes its own. A receiver that dies before gets the batch again.
//
// UDP is refused: it loses messages without a sign, and cuts long ones. Use [NewSyslog].
type Syslog struct {
	name, host, server string
	opts               SyslogOptions
	tls                bool
}

// NewSyslog makes a Syslog. The address is tcp://host:port or tls://host:port.
func NewSyslog(name, address string, opts *SyslogOptions) (*Syslog, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("siem: the address of sink %s is not tcp://host:port or tls://host:port", name)
	}
	if u.Scheme == "udp" {
		return nil, fmt.Errorf("siem: sink %s: syslog over UDP loses messages unseen, use tcp:// or tls://", name)
	}
	port, perr := strconv.ParseUint(u.Port(), 10, 16)
	if u.Scheme != "tcp" && u.Scheme != "tls" || u.Hostname() == "" || perr != nil || port == 0 || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return nil, fmt.Errorf("siem: the address of sink %s is not tcp://host:port or tls://host:port", name)
	}
	s := &Syslog{name: name, host: u.Host, server: u.Hostname(), tls: u.Scheme == "tls"}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.MaxFrame == 0 {
		s.opts.MaxFrame = 8192
	}
	if s.opts.MaxFrame < 2048 {
		return nil, fmt.Errorf("siem: sink %s: MaxFrame is %d, want at least 2048", name, s.opts.MaxFrame)
	}
	if s.opts.Hostname == "" {
		s.opts.Hostname, _ = os.Hostname() // the nil value of RFC 5424 stands for an unknown one
	}
	if s.opts.Dialer == nil {
		s.opts.Dialer = &net.Dialer{}
	}
	return s, nil
}

// Name implements Sink.
func (s *Syslog) Name() string { return s.name }

// Kind implements Sink.
func (s *Syslog) Kind() string { return "syslog" }

// Target implements Sink.
func (s *Syslog) Target() string {
	if s.tls {
		return "tls://" + s.host
	}
	return "tcp://" + s.host
}

// Send implements Sink.
func (s *Syslog) Send(ctx context.Context, b Batch) (err error) {
	var text bytes.Buffer
	for _, e := range b.Events {
		frame, err := s.Frame(e)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%d ", len(frame))
		_, _ = text.Write(frame)
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what matters was read before
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(text.Bytes()); err != nil {
		return err
	}
	// A receiver has nothing to say, so the first thing to read is the end: it has read
	// ours. Had it gone with bytes unread, its kernel would answer with a reset; within
	// TLS that comes only after the end that TLS says, so both layers are read out.
	layers := []net.Conn{conn}
	if t, ok := conn.(*tls.Conn); ok {
		layers = append(layers, t.NetConn())
	}
	for _, c := range layers {
		half, ok := c.(interface{ CloseWrite() error })
		if !ok {
			return errors.New("the connection cannot be closed on one side")
		}
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	for _, c := range layers {
		if _, err := io.Copy(io.Discard, io.LimitReader(c, 64<<10)); err != nil {
			return fmt.Errorf("the receiver did not confirm the end of the batch: %w", err)
		}
	}
	return nil
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	if !s.tls {
		return s.opts.Dialer.DialContext(ctx, "tcp", s.host)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.opts.TLS != nil {
		cfg = s.opts.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = s.server
	}
	return (&tls.Dialer{NetDialer: s.opts.Dialer, Config: cfg}).DialContext(ctx, "tcp", s.host)
}

// Frame is one RFC 5424 message: facility 13 (log audit), the severity of the event, and
// the event as JSON in ASCII.
func (s *Syslog) Frame(e Event) ([]byte, error) {
	n := int64(0)
	if e.Metadata.Sequence != nil {
		n = *e.Metadata.Sequence
	}
	head := fmt.Sprintf("<%d>1 %s %s reeve - %s [meta sequenceId=\"%d\"] ", 13*8+level(e.SeverityID),
		time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z"), word(s.opts.Hostname, 255), word(e.Metadata.EventCode, 32), n%(1<<31-1)+1)
	msg, err := e.Shrink(s.opts.MaxFrame - len(head))
	if err != nil {
		return nil, err
	}
	return append([]byte(head), msg...), nil
}

// level is the severity of syslog for one of OCSF.
func level(severity int) int {
	switch severity {
	case 5:
		return 2 // critical
	case 4:
		return 3 // error
	case 3:
		return 4 // warning
	case 2:
		return 5 // notice
	}
	return 6 // informational
}

// word makes a field of a header: printable ASCII without spaces, "-" when there is none.
func word(s string, most int) string {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r <= 0x20 || r >= 0x7f {
			r = '_'
		}
		if out = append(out, byte(r)); len(out) == most {
			break
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return string(out)
}
