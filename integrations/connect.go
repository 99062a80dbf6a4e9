package integrations

import (
	"context"
	"sync"

	"github.com/reevehq/reeve/integrations/connector"
)

// Configured makes an Options.Connect of a function that finds the running connector of
// an instance: it is configured when it is asked for the first time, and again when
// the instance's version has changed.
func Configured(find func(ctx context.Context, in Instance) (connector.Connector, error)) func(ctx context.Context, in Instance) (connector.Connector, error) {
	var mu sync.Mutex
	versions := map[string]int64{}
	return func(ctx context.Context, in Instance) (connector.Connector, error) {
		c, err := find(ctx, in)
		if err != nil || c == nil {
			return c, err
		}
		mu.Lock()
		have := versions[in.ID]
		mu.Unlock()
		if have == in.Version {
			return c, nil
		}
		if err := c.Configure(ctx, in.Config); err != nil {
			return nil, err
		}
		mu.Lock()
		versions[in.ID] = max(versions[in.ID], in.Version)
		mu.Unlock()
		return c, nil
	}
}
