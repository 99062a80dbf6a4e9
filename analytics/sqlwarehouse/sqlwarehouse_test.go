package sqlwarehouse_test

import (
	"testing"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/analytics/warehousetest"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
)

func TestWarehouse(t *testing.T) {
	t.Parallel()
	opts := &govtest.Options{Schemas: []govdb.Schema{sqlwarehouse.Schema()}}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		warehousetest.Run(t, func(t *testing.T) analytics.Warehouse { return sqlwarehouse.New(govtest.New(t, opts).DB) })
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		warehousetest.Run(t, func(t *testing.T) analytics.Warehouse { return sqlwarehouse.New(govtest.NewPostgres(t, opts).DB) })
	})
}
