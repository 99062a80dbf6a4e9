package alerting

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outgoing"
)

// SMTPOptions says how alerts are mailed. Host, From and To are required.
type SMTPOptions struct {
	Name     string // default "smtp"
	Host     string
	Port     uint16 // 465 speaks TLS from the start, any other by STARTTLS; default 465
	From     string
	To       []string
	Username string // empty: no log-in
	Password string
	// PlainText lets a relay without TLS take the mail, without a log-in. Default: TLS or nothing.
	PlainText bool
	Allow     []outgoing.Allowed // for a relay that is not at a public address
	Implicit  bool               // TLS from the start on another port than 465
	RootCAs   *x509.CertPool     // default: the system's
	Now       func() time.Time
}

// SMTP mails alerts.
type SMTP struct {
	opts   SMTPOptions
	dialer *net.Dialer
}

var _ governance.NoticeNotifier = (*SMTP)(nil)

// NewSMTP makes an SMTP.
func NewSMTP(opts SMTPOptions) (*SMTP, error) {
	o := opts
	if o.Name == "" {
		o.Name = "smtp"
	}
	if o.Port == 0 {
		o.Port = 465
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var errs []error
	if o.Host == "" {
		errs = append(errs, errors.New("alerting: SMTP needs a host"))
	}
	if len(o.To) == 0 {
		errs = append(errs, errors.New("alerting: SMTP needs an address to send to"))
	}
	for _, a := range append([]string{o.From}, o.To...) {
		if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
			errs = append(errs, fmt.Errorf("alerting: %q is not an e-mail address", a))
		}
	}
	if o.PlainText && o.Username != "" {
		errs = append(errs, errors.New("alerting: SMTP does not log in without TLS"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &SMTP{o, outgoing.Dialer(&outgoing.Options{Allow: o.Allow, Ports: []uint16{o.Port}})}, nil
}

// Name implements governance.Notifier.
func (s *SMTP) Name() string { return s.opts.Name }

// Notify implements governance.Notifier.
func (s *SMTP) Notify(ctx context.Context, a governance.Alert) error {
	return s.Tell(ctx, raised(a))
}

// Tell implements governance.NoticeNotifier: one mail for the group, and what is told
// of it later stands below the first in a reader's list.
func (s *SMTP) Tell(ctx context.Context, n governance.Notice) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.send(ctx, s.message(n)); err != nil {
		return fmt.Errorf("%s: %w", s.opts.Name, smtpError(err))
	}
	return nil
}

// smtpError leaves out what the server said: it may repeat addresses.
func smtpError(err error) error {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("answered %d", answer.Code)
	}
	return err
}

func (s *SMTP) send(ctx context.Context, message []byte) (err error) {
	o := s.opts
	conn, err := s.dialer.DialContext(ctx, "tcp", net.JoinHostPort(o.Host, strconv.Itoa(int(o.Port))))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if until, ok := ctx.Deadline(); ok { // of everything that follows
		if err := conn.SetDeadline(until); err != nil {
			return err
		}
	}
	config := &tls.Config{ServerName: o.Host, RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	if o.Implicit || o.Port == 465 {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secure
	}
	c, err := smtp.NewClient(conn, o.Host)
	if err != nil {
		return err
	}
	if _, secure := c.TLSConnectionState(); !secure && !o.PlainText {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("the server offers no TLS")
		}
		if err := c.StartTLS(config); err != nil {
			return err
		}
	}
	if o.Username != "" {
		if err := c.Auth(smtp.PlainAuth("", o.Username, o.Password, o.Host)); err != nil {
			return err
		}
	}
	return s.deliver(c, message)
}

func (s *SMTP) deliver(c *smtp.Client, message []byte) error {
	if err := c.Mail(s.opts.From); err != nil {
		return err
	}
	for _, to := range s.opts.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil { // only now has the server taken it
		return err
	}
	_ = c.Quit()
	return nil
}

// message is the mail as it is sent. Nothing of the alert gets into the header but
// its encoded title.
func (s *SMTP) message(n governance.Notice) []byte {
	var b bytes.Buffer
	_, host, _ := strings.Cut(s.opts.From, "@")
	title := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, cut(headline(n), 300))
	word := string(worst(n))
	if n.Kind != governance.NoticeRaised {
		word = string(n.Kind)
	}
	header := [][2]string{
		{"From", s.opts.From}, {"To", strings.Join(s.opts.To, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", "["+word+"] "+title)},
		{"Date", s.opts.Now().UTC().Format(time.RFC1123Z)}, {"Message-ID", "<" + n.ID.String() + "@" + host + ">"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
		{"Auto-Submitted", "auto-generated"},
	}
	if groupID.MatchString(n.Group) {
		header = append(header, [2]string{"References", "<group-" + n.Group + "@" + host + ">"})
	}
	for _, h := range header {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	var parts []string
	for i, a := range n.Alerts {
		if i == 50 {
			parts = append(parts, fmt.Sprintf("and %d more\n", len(n.Alerts)-i))
			break
		}
		text := a.Title + "\n"
		if d := detail(n, a); d != "" {
			text += "\n" + cut(d, 8000) + "\n"
		}
		if a.Tenant != "" {
			text += "\nTenant: " + string(a.Tenant) + "\n"
		}
		for _, l := range absolute(a.Links) {
			text += "\n" + l.Title + ": " + l.URL + "\n"
		}
		parts = append(parts, text)
	}
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(strings.Join(parts, "\n--\n\n"), "\n", "\r\n"))) // into memory: it cannot fail
	_ = w.Close()
	return b.Bytes()
}

var groupID = regexp.MustCompile(`^[0-9a-f]{8,64}$`)
