package main

import (
	"testing"

	"github.com/reevehq/reeve/integrations/connectortest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	path := connectortest.Build(t, ".")
	for name, accounts := range map[string]string{"crm": "companies", "billing": "customers", "ticketing": "organizations"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.Run(t, connectortest.Sandbox(t, connectortest.Plugin{Path: path, Serve: name}, accounts))
		})
	}
}
