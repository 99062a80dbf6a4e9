package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/reevehq/reeve/oversight/siem"
)

// checkSyslog is what the sink itself says of an address.
func checkSyslog(v string) error {
	if v == "" {
		return nil
	}
	if _, err := siem.NewSyslog("syslog", v, nil); err != nil {
		return errors.New("is not tcp://host:port or tls://host:port; UDP would lose messages unseen")
	}
	return nil
}

func checkSIEMSecret(v string) error {
	if v != "" && len(v) < 24 {
		return errors.New("has fewer than 24 bytes")
	}
	return nil
}

// checkSIEM finds settings that need each other.
func checkSIEM(c configuration) error {
	var errs []error
	if c.text("siem_http") != "" && c.text("siem_http_secret") == "" && c.text("siem_http_token") == "" {
		errs = append(errs, errors.New("siem_http: needs siem_http_secret or siem_http_token: a receiver must know who writes its log"))
	}
	if c.text("siem_syslog_ca") != "" && !strings.HasPrefix(c.text("siem_syslog"), "tls://") {
		errs = append(errs, errors.New("siem_syslog_ca: siem_syslog is no tls:// address"))
	}
	return errors.Join(errs...)
}

// sinks are the places that the settings copy the log to.
func sinks(cfg configuration, client *http.Client) ([]siem.Sink, error) {
	var out []siem.Sink
	if v := cfg.text("siem_file"); v != "" {
		f, err := siem.NewFile("file", v)
		if err != nil {
			return nil, fmt.Errorf("siem_file: %w", err)
		}
		out = append(out, f)
	}
	if v := cfg.text("siem_syslog"); v != "" {
		o := &siem.SyslogOptions{}
		if ca := cfg.text("siem_syslog_ca"); ca != "" {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return nil, fmt.Errorf("siem_syslog_ca: %w", err)
			}
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("siem_syslog_ca: %s has no certificate", ca)
			}
			o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
		s, err := siem.NewSyslog("syslog", v, o)
		if err != nil {
			return nil, fmt.Errorf("siem_syslog: %w", err)
		}
		out = append(out, s)
	}
	if v := cfg.text("siem_http"); v != "" {
		h, err := siem.NewHTTP("http", v, &siem.HTTPOptions{Secret: []byte(cfg.text("siem_http_secret")), Token: cfg.text("siem_http_token"), Client: client})
		if err != nil {
			return nil, fmt.Errorf("siem_http: %w", err)
		}
		out = append(out, h)
	}
	return out, nil
}

// siemMetrics says how far the copies of the log are behind.
func (a *app) siemMetrics() {
	a.metrics.gauge("reeve_siem_lag_records", "Sealed records that wait for a sink, of the sink that is furthest behind.", func(ctx context.Context) (float64, error) {
		records, _, err := a.siemLag(ctx)
		return records, err
	})
	a.metrics.gauge("reeve_siem_lag_seconds", "Age of the oldest sealed record that waits for a sink.", func(ctx context.Context) (float64, error) {
		_, seconds, err := a.siemLag(ctx)
		return seconds, err
	})
}

func (a *app) siemLag(ctx context.Context) (records, seconds float64, err error) {
	sts, err := a.reeve.SIEM.Statuses(ctx)
	for _, st := range sts {
		if st.State != siem.Removed {
			records, seconds = max(records, float64(st.Lag)), max(seconds, st.Oldest.Seconds())
		}
	}
	return records, seconds, err
}
