package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/mail"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alerting"
	"github.com/reevehq/reeve/governance/outgoing"
)

// notifiers are where alerts go, named as in the routes: webhook, slack, pagerduty, smtp.
func (a *app) notifiers(client *http.Client, allow []outgoing.Allowed) ([]governance.Notifier, error) {
	var out []governance.Notifier
	var errs []error
	add := func(n governance.Notifier, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		out = append(out, n)
	}
	o := &alerting.Options{Client: client}
	if v := a.cfg.text("notify_webhook"); v != "" {
		add(alerting.NewWebhook(v, []byte(a.cfg.text("notify_webhook_secret")), o))
	}
	if v := a.cfg.text("notify_slack"); v != "" {
		add(alerting.NewSlack(v, o))
	}
	if v := a.cfg.text("notify_pagerduty"); v != "" {
		add(alerting.NewPagerDuty(v, a.cfg.text("public_url"), "", o))
	}
	if v := a.cfg.text("notify_mail"); v != "" {
		host, port, err := splitRelay(v)
		if err != nil {
			return nil, fmt.Errorf("notify_mail: %w", err)
		}
		m := alerting.SMTPOptions{Host: host, Port: port, From: a.cfg.text("notify_mail_from"), To: mailList(a.cfg.text("notify_mail_to")),
			Username: a.cfg.text("notify_mail_user"), Password: a.cfg.text("notify_mail_password"), Allow: allow}
		add(alerting.NewSMTP(m))
	}
	return out, errors.Join(errs...)
}

// splitRelay reads host or host:port of a mail server.
func splitRelay(v string) (host string, port uint16, err error) {
	if !strings.Contains(v, ":") {
		return v, 465, nil
	}
	host, text, err := net.SplitHostPort(v)
	if err != nil || host == "" {
		return "", 0, errors.New("is not host:port")
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, errors.New("is not host:port")
	}
	return host, uint16(n), nil
}

func checkRelay(v string) error {
	if v == "" {
		return nil
	}
	_, _, err := splitRelay(v)
	return err
}

func mailList(v string) []string {
	var out []string
	for _, a := range strings.Split(v, ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

func checkMailList(v string) error {
	for _, a := range mailList(v) {
		if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
			return errors.New("is not a list of e-mail addresses")
		}
	}
	return nil
}
