package governance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	placeFor = 2 * time.Second
	placeMax = 100_000
)

// place is where a tenant is, as far as authorization asks.
type place struct {
	country, region string
	until           time.Time
}

// places remembers for two seconds where tenants are, so that an act on a tenant
// costs no round trip of its own. A change of country or region counts here at once
// on the server that made it, and on others within those two seconds.
type places struct {
	mu sync.Mutex
	m  map[TenantID]place
}

// place of a tenant that nobody knows is nowhere.
func (k *Kernel) place(ctx context.Context, id TenantID) (place, error) {
	now := time.Now()
	k.places.mu.Lock()
	p, ok := k.places.m[id]
	k.places.mu.Unlock()
	if ok && now.Before(p.until) {
		return p, nil
	}
	p = place{until: now.Add(placeFor)}
	err := k.db.ReadRow(ctx, "SELECT country, region FROM gov_tenant WHERE id = ?", string(id)).Scan(&p.country, &p.region)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return place{}, fmt.Errorf("tenant %s: %w", id, err)
	}
	k.places.mu.Lock()
	defer k.places.mu.Unlock()
	if k.places.m == nil || len(k.places.m) >= placeMax {
		k.places.m = map[TenantID]place{}
	}
	k.places.m[id] = p
	return p, nil
}

func (k *Kernel) forgetPlace(id TenantID) {
	k.places.mu.Lock()
	defer k.places.mu.Unlock()
	delete(k.places.m, id)
}
