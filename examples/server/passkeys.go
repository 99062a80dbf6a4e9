package main

import (
	"errors"
	"net/url"
	"strings"

	"github.com/reevehq/reeve/governance/govauth/passkey"
)

// site is where security keys work, by the settings: below public_url, when they say
// nothing. It is asked for late, since the address may follow the socket.
func (c configuration) site() passkey.Site {
	s := passkey.SiteOf(c.text("public_url"))
	if d := c.text("passkey_domain"); d != "" {
		s.RPID = d
	}
	if list := c.text("passkey_origins"); list != "" {
		s.Origins = nil
		for _, o := range strings.Split(list, ",") {
			s.Origins = append(s.Origins, strings.TrimRight(strings.TrimSpace(o), "/"))
		}
	}
	return s
}

func checkDomain(v string) error {
	if v != "" && (strings.ContainsAny(v, "/: ") || strings.HasPrefix(v, ".")) {
		return errors.New("is no domain such as reeve.example.com")
	}
	return nil
}

func checkOrigins(v string) error {
	if v == "" {
		return nil
	}
	for _, o := range strings.Split(v, ",") {
		u, err := url.Parse(strings.TrimRight(strings.TrimSpace(o), "/"))
		if err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" && u.Hostname() != "localhost" {
			return errors.New("is no list of https addresses without a path")
		}
	}
	return nil
}
