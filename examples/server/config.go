package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/reevehq/reeve/governance/govdb/opendb"
)

// setting is one key of the configuration. What is not in the table is an error.
type setting struct {
	key, standard, doc string
	secret             bool
	check              func(v string) error
}

var settings = []setting{
	{key: "listen", standard: "127.0.0.1:8080", doc: "address to listen on", check: checkListen},
	{key: "public_url", doc: "address that people reach the server at; default http://<listen>", check: checkURL},
	{key: "data", standard: "reeve-data", doc: "folder of the embedded database, keys, exports and recordings", check: notEmpty},
	{key: "database", doc: "postgres://… DSN; empty is SQLite in the data folder", secret: true, check: checkDSN},
	{key: "database_schema", doc: "PostgreSQL schema; default the role's search_path"},
	{key: "keys", doc: "folder of the signing keys, shared by all servers; default <data>/keys on SQLite, the database itself on PostgreSQL"},
	{key: "plugins", doc: "connector programs, as name=path#sha256, comma-separated", check: func(v string) error { _, err := parsePlugins(v); return err }},
	{key: "host_database", doc: "path or postgres://… DSN of the database under retention", secret: true},
	{key: "host_mapping", doc: "YAML file that maps its tables"},
	{key: "policies", doc: "YAML file of policies; those that the database does not have yet are installed at start, in place of shipped ones with the same id"},
	{key: "passkey_domain", doc: "domain that security keys are for; default the name in public_url, and localhost for a loopback address", check: checkDomain},
	{key: "passkey_origins", doc: "addresses at which people use them, comma-separated; default public_url", check: checkOrigins},
	{key: "auto_migrate", standard: "true", doc: "bring the tables up to date at start; false only checks them", check: checkBool},
	{key: "ledger_origin", standard: "reeve.local", doc: "name of the ledger, first line of its checkpoints", check: notEmpty},
	{key: "ledger_witnesses", doc: "witnesses that cosign checkpoints, as 'address key', comma-separated", check: checkWitnesses},
	{key: "ledger_witness_quorum", standard: "0", doc: "how many witnesses must have signed the checkpoint of a pack of evidence", check: checkCount},
	{key: "ledger_publish_file", doc: "file that checkpoints are appended to, best on another machine"},
	{key: "ledger_publish_url", doc: "address that checkpoints are posted to", secret: true, check: checkURL},
	{key: "ledger_receipts_file", doc: "file that receipts are appended to as their records are committed, best on another machine"},
	{key: "ledger_receipts_url", doc: "address that receipts are posted to as their records are committed", secret: true, check: checkURL},
	{key: "ledger_s3", doc: "bucket for checkpoints and receipts, as https://host/bucket/prefix", check: checkBucket},
	{key: "ledger_s3_region", standard: "us-east-1", doc: "its region", check: notEmpty},
	{key: "ledger_s3_access_key", doc: "access key that writes into it"},
	{key: "ledger_s3_secret_key", doc: "secret of that key", secret: true},
	{key: "ledger_s3_tiles", standard: "false", doc: "true writes the log itself into it as well, with every record", check: checkBool},
	{key: "ledger_s3_lock", standard: "0s", doc: "how long object lock keeps what is written from change; 0s leaves it to the bucket", check: checkDuration},
	{key: "log_level", standard: "info", doc: "debug, info, warn or error", check: oneOf("debug", "info", "warn", "error")},
	{key: "log_format", standard: "text", doc: "text or json, on stderr", check: oneOf("text", "json")},
	{key: "reporting_currency", standard: "EUR", doc: "currency of MRR and ARR", check: oneOf("EUR", "USD", "GBP")},
	{key: "allow_outgoing", doc: "comma-separated prefix:port exceptions to the guard of outgoing calls, such as 127.0.0.0/8:9000", check: checkAllow},
	{key: "notify_webhook", doc: "https address that alerts are posted to as JSON", check: checkURL},
	{key: "notify_webhook_secret", doc: "key that signs them", secret: true},
	{key: "notify_slack", doc: "Slack incoming webhook for alerts", secret: true, check: checkURL},
	{key: "notify_pagerduty", doc: "PagerDuty Events v2 routing key for alerts", secret: true},
	{key: "notify_mail", doc: "host:port of the mail server that takes alerts; TLS from the start on 465, else by STARTTLS", check: checkRelay},
	{key: "notify_mail_from", doc: "address that they come from", check: checkMailList},
	{key: "notify_mail_to", doc: "addresses that they go to, comma-separated", check: checkMailList},
	{key: "notify_mail_user", doc: "name to log in with; empty does not log in"},
	{key: "notify_mail_password", doc: "password of that name", secret: true},
	{key: "alert_history", standard: "9600h", doc: "how long notices of alerts and their tries are kept", check: checkDuration},
	{key: "siem_file", doc: "file that the ledger and the alerts are appended to as OCSF, a line of JSON each"},
	{key: "siem_syslog", doc: "tcp://host:port or tls://host:port of a syslog server that they go to", check: checkSyslog},
	{key: "siem_syslog_ca", doc: "PEM file of who vouches for that server; default the system's"},
	{key: "siem_http", doc: "https address that they are posted to", secret: true, check: checkURL},
	{key: "siem_http_secret", doc: "key that signs them, at least 24 bytes", secret: true, check: checkSIEMSecret},
	{key: "siem_http_token", doc: "bearer token sent with them", secret: true},
	{key: "impersonation_observer", standard: "on_request", doc: "which impersonations somebody has to watch: on_request, write (and those asked for) or always", check: oneOf("on_request", "write", "always")},
	{key: "metrics_token", doc: "bearer token that /metrics asks for, at least 16 bytes; empty answers this machine only, and no proxy on it", secret: true, check: checkMetricsToken},
	{key: "rrweb_dir", doc: "folder into which npm installed @rrweb/record; impersonated pages are then recorded in the browser as well"},
	{key: "rrweb_required", standard: "never", doc: "which impersonations pause when their browser falls silent: never, write or always; needs rrweb_dir", check: oneOf("never", "write", "always")},
	{key: "shutdown_grace", standard: "15s", doc: "longest wait for running requests at shutdown", check: checkDuration},
}

func notEmpty(v string) error {
	if v == "" {
		return errors.New("is empty")
	}
	return nil
}

func checkMetricsToken(v string) error {
	if v != "" && len(v) < 16 {
		return errors.New("has fewer than 16 bytes")
	}
	return nil
}

func checkBool(v string) error {
	if _, err := strconv.ParseBool(v); err != nil {
		return errors.New("is neither true nor false")
	}
	return nil
}

func checkDuration(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d < 0 {
		return errors.New("is not a duration such as 15s")
	}
	return nil
}

func oneOf(want ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(want, v) {
			return nil
		}
		return fmt.Errorf("is not one of %s", strings.Join(want, ", "))
	}
}

func checkListen(v string) error {
	host, port, ok := strings.Cut(v, ":")
	if i := strings.LastIndex(v, ":"); i > 0 {
		host, port = v[:i], v[i+1:]
	}
	if n, err := strconv.Atoi(port); !ok || err != nil || n < 0 || n > 65535 || host == "" {
		return errors.New("is not host:port")
	}
	return nil
}

func checkURL(v string) error {
	if v == "" {
		return nil
	}
	if u, err := url.Parse(v); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("is not an http or https address")
	}
	return nil
}

func checkDSN(v string) error {
	if v != "" && !opendb.IsPostgres(v) {
		return errors.New("is neither empty nor postgres://…")
	}
	return nil
}

func checkAllow(v string) error {
	_, _, err := parseAllow(v)
	return err
}

// parseAllow reads the exceptions of the outgoing guard.
func parseAllow(v string) (prefixes []netip.Prefix, ports []uint16, err error) {
	for _, item := range strings.Split(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		i := strings.LastIndex(item, ":")
		if i < 0 {
			return nil, nil, fmt.Errorf("%q is not prefix:port", item)
		}
		p, err := netip.ParsePrefix(item[:i])
		if err != nil {
			return nil, nil, fmt.Errorf("%q is not prefix:port", item)
		}
		n, err := strconv.ParseUint(item[i+1:], 10, 16)
		if err != nil || n == 0 {
			return nil, nil, fmt.Errorf("%q is not prefix:port", item)
		}
		prefixes, ports = append(prefixes, p), append(ports, uint16(n))
	}
	return prefixes, ports, nil
}

// configuration is the merged settings, with where each value came from.
type configuration struct {
	values map[string]string
	source map[string]string
}

func (c configuration) text(key string) string { return c.values[key] }

func (c configuration) yes(key string) bool {
	b, err := strconv.ParseBool(c.values[key])
	return err == nil && b
}

func (c configuration) duration(key string) time.Duration {
	d, err := time.ParseDuration(c.values[key])
	if err != nil {
		return 0
	}
	return d
}

// envName is the environment variable of a key.
func envName(key string) string { return "REEVE_" + strings.ToUpper(key) }

// loadConfig merges defaults, then the file, then the environment, then flags.
// Every fault is named, all of them at once.
func loadConfig(path string, environ []string, flags map[string]string) (configuration, error) {
	k := koanf.New(".")
	c := configuration{values: map[string]string{}, source: map[string]string{}}
	var errs []error
	layer := func(name string, values map[string]any) {
		for key, v := range values {
			i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s: %q is not a setting", name, key))
				continue
			}
			switch v.(type) {
			case string, bool, int, int64, uint64, float64:
				c.source[key] = name
			default:
				errs = append(errs, fmt.Errorf("%s: %s is not a single value", name, key))
				delete(values, key)
			}
		}
		if err := k.Load(confmap.Provider(values, "."), nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	standard := map[string]any{}
	for _, s := range settings {
		standard[s.key] = s.standard
	}
	layer("default", standard)
	if path != "" {
		f := koanf.New(".")
		if err := f.Load(file.Provider(path), yaml.Parser()); err != nil {
			return c, fmt.Errorf("configuration file %s: %w", path, err)
		}
		layer("file "+path, f.Raw())
	}
	env := map[string]any{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if rest, ok := strings.CutPrefix(name, "REEVE_"); ok && !strings.HasPrefix(rest, "TEST_") && !strings.HasPrefix(rest, "PLUGIN_") {
			env[strings.ToLower(rest)] = value
		}
	}
	layer("environment", env)
	given := map[string]any{}
	for key, v := range flags {
		given[key] = v
	}
	layer("flag", given)
	for _, s := range settings {
		v := k.String(s.key)
		c.values[s.key] = v
		if s.check != nil {
			if err := s.check(v); err != nil {
				errs = append(errs, fmt.Errorf("%s (from %s): %w", s.key, c.source[s.key], err))
			}
		}
	}
	if c.values["public_url"] == "" {
		c.values["public_url"] = "http://" + c.values["listen"]
	}
	if c.values["rrweb_required"] != "never" && c.values["rrweb_dir"] == "" {
		errs = append(errs, fmt.Errorf("rrweb_required (from %s): needs rrweb_dir", c.source["rrweb_required"]))
	}
	return c, errors.Join(append(errs, checkSIEM(c))...)
}

// print shows every value with its source; secrets are masked.
func (c configuration) print(w io.Writer) {
	for _, s := range settings {
		v := c.values[s.key]
		if s.secret && v != "" {
			v = "********"
		}
		_, _ = fmt.Fprintf(w, "%-22s %-36q # %s; %s (%s)\n", s.key+":", v, c.source[s.key], s.doc, envName(s.key))
	}
}

func settingKeys() []string {
	keys := map[string]bool{}
	for _, s := range settings {
		keys[s.key] = true
	}
	return slices.Sorted(maps.Keys(keys))
}
