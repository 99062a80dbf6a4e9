package main

import (
	"testing"

	"github.com/reevehq/reeve/integrations/connectortest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	connectortest.Run(t, connectortest.Sandbox(t, connectortest.Plugin{Path: connectortest.Build(t, ".")}, "companies"))
}
