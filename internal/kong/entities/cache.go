package entities

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/fault"
)

// DefaultTTL is how long answers are kept: Kong's default db_update_frequency.
const DefaultTTL = 5 * time.Second

// MaxEntries bounds a Cache.
const MaxEntries = 20_000

// lookupTime bounds a lookup that several requests share.
const lookupTime = 10 * time.Second

// Cache keeps what Lookups answered, that there is none included. Failures are
// not kept. It is safe for concurrent use.
type Cache struct {
	next   Lookups
	ttl    time.Duration
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	entries map[key]entry
	order   []key // oldest first, expired ones at the front
}

var _ Lookups = (*Cache)(nil)

// key identifies a lookup. It is a digest: keys may hold access tokens.
type key [sha256.Size]byte

type entry struct {
	value any // nil: there is none
	until time.Time
}

// NewCache keeps what next answers for ttl (DefaultTTL where 0). now is the
// clock, nil for time.Now.
func NewCache(next Lookups, ttl time.Duration, now func() time.Time) *Cache {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	if now == nil {
		now = time.Now
	}
	return &Cache{next: next, ttl: ttl, now: now, entries: map[key]entry{}}
}

func keyOf(parts ...string) key {
	h := sha256.New()
	for _, p := range parts {
		s := sha256.Sum256([]byte(p))
		h.Write(s[:])
	}
	return key(h.Sum(nil))
}

func (c *Cache) get(k key) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	if !ok || !c.now().Before(e.until) {
		return nil, false
	}
	return e.value, true
}

func (c *Cache) put(k key, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if _, known := c.entries[k]; known {
		// It keeps its place in the order; it is looked at again when that is over.
		c.entries[k] = entry{v, now.Add(c.ttl)}
		return
	}
	for len(c.order) > 0 {
		first := c.order[0]
		e := c.entries[first]
		if now.Before(e.until) && len(c.entries) < MaxEntries {
			break
		}
		delete(c.entries, first)
		c.order = c.order[1:]
	}
	c.entries[k] = entry{v, now.Add(c.ttl)}
	c.order = append(c.order, k)
}

// find answers from the cache or by load. Those who ask for the same at once
// share one lookup, which goes on when the first of them gives up.
func find[T any](ctx context.Context, c *Cache, k key, load func(context.Context) (*T, error)) (*T, error) {
	if v, ok := c.get(k); ok {
		if v == nil {
			return nil, ErrNotFound
		}
		return v.(*T), nil
	}
	ch := c.flight.DoChan(string(k[:]), func() (v any, err error) {
		defer fault.Recover(&err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
		defer cancel()
		return keep(ctx, c, k, load)
	})
	select {
	case r := <-ch:
		v, _ := r.Val.(*T)
		return v, r.Err
	case <-ctx.Done():
		return nil, &LookupError{"entity", ctx.Err()}
	}
}

// keep loads and keeps the answer, unless the lookup failed.
func keep[T any](ctx context.Context, c *Cache, k key, load func(context.Context) (*T, error)) (*T, error) {
	v, err := load(ctx)
	switch {
	case err == nil && v != nil:
		c.put(k, v)
		return v, nil
	case errors.Is(err, ErrNotFound):
		c.put(k, nil)
	case err == nil:
		err = &LookupError{"entity", errors.New("the answer is empty")}
	}
	return nil, err
}

// ConsumerByID implements Lookups.
func (c *Cache) ConsumerByID(ctx context.Context, ws, id string) (*Consumer, error) {
	return c.consumer(ctx, nil, ws, "id", id, false)
}

// ConsumerByUsername implements Lookups.
func (c *Cache) ConsumerByUsername(ctx context.Context, ws, name string, ignoreCase bool) (*Consumer, error) {
	return c.consumer(ctx, nil, ws, "username", name, ignoreCase)
}

// ConsumerByCustomID implements Lookups.
func (c *Cache) ConsumerByCustomID(ctx context.Context, ws, id string, ignoreCase bool) (*Consumer, error) {
	return c.consumer(ctx, nil, ws, "custom_id", id, ignoreCase)
}

func (c *Cache) consumer(ctx context.Context, pdk Loader, ws, by, value string, ignoreCase bool) (*Consumer, error) {
	if value == "" || len(value) > MaxName {
		return nil, ErrNotFound
	}
	exact := "exact"
	if ignoreCase {
		exact = "ignore case"
	}
	k := keyOf("consumer", ws, by, exact, value)
	if pdk != nil && !ignoreCase && (by == "username" || by == "id") {
		if v, ok := c.get(k); ok {
			if v == nil {
				return nil, ErrNotFound
			}
			return v.(*Consumer), nil
		}
		// On the event's own connection: it cannot be shared with other requests.
		return keep(ctx, c, k, func(ctx context.Context) (*Consumer, error) {
			if by == "id" && !IsUUID(value) {
				return nil, ErrNotFound // Kong answers 500 to a name in place of an id
			}
			v, err := pdk.LoadConsumer(ctx, value, by == "username")
			if err != nil {
				return nil, &LookupError{"consumer by " + by, err}
			}
			// The PDK takes one for the other where it finds nothing.
			if v == nil || v.ID == "" || by == "username" && v.Username != value || by == "id" && v.ID != value {
				return nil, ErrNotFound
			}
			return v, nil
		})
	}
	return find(ctx, c, k, func(ctx context.Context) (*Consumer, error) {
		switch by {
		case "id":
			return c.next.ConsumerByID(ctx, ws, value)
		case "username":
			return c.next.ConsumerByUsername(ctx, ws, value, ignoreCase)
		}
		return c.next.ConsumerByCustomID(ctx, ws, value, ignoreCase)
	})
}

// Certificate implements Lookups.
func (c *Cache) Certificate(ctx context.Context, ws, id string) (*Certificate, error) {
	return find(ctx, c, keyOf("certificate", ws, id), func(ctx context.Context) (*Certificate, error) { return c.next.Certificate(ctx, ws, id) })
}

// CACertificate implements Lookups.
func (c *Cache) CACertificate(ctx context.Context, id string) (*CACertificate, error) {
	return find(ctx, c, keyOf("ca_certificate", id), func(ctx context.Context) (*CACertificate, error) { return c.next.CACertificate(ctx, id) })
}

// OAuth2Token implements Lookups.
func (c *Cache) OAuth2Token(ctx context.Context, ws, accessToken string) (*OAuth2Token, error) {
	if accessToken == "" || len(accessToken) > MaxName {
		return nil, ErrNotFound
	}
	t, err := find(ctx, c, keyOf("oauth2_token", ws, accessToken), func(ctx context.Context) (*OAuth2Token, error) { return c.next.OAuth2Token(ctx, ws, accessToken) })
	if err == nil && t.Expired(c.now()) {
		return nil, ErrNotFound // its time was over while it was kept
	}
	return t, err
}

// KnowsGroups implements Lookups.
func (c *Cache) KnowsGroups(ctx context.Context) (bool, error) {
	v, err := find(ctx, c, keyOf("knows groups"), func(ctx context.Context) (*bool, error) {
		v, err := c.next.KnowsGroups(ctx)
		return &v, err
	})
	if err != nil {
		return false, err
	}
	return *v, nil
}

// GroupByName implements Lookups.
func (c *Cache) GroupByName(ctx context.Context, ws, name string) (*Group, error) {
	if name == "" || len(name) > MaxName {
		return nil, ErrNotFound
	}
	return find(ctx, c, keyOf("group", ws, name), func(ctx context.Context) (*Group, error) { return c.next.GroupByName(ctx, ws, name) })
}

// For returns the lookups of one event, which finds consumers by id and by
// user name through the PDK; what was found is kept for all.
func (c *Cache) For(pdk Loader) Lookups { return event{c, pdk} }

type event struct {
	*Cache
	pdk Loader
}

func (e event) ConsumerByID(ctx context.Context, ws, id string) (*Consumer, error) {
	return e.consumer(ctx, e.pdk, ws, "id", id, false)
}

func (e event) ConsumerByUsername(ctx context.Context, ws, name string, ignoreCase bool) (*Consumer, error) {
	return e.consumer(ctx, e.pdk, ws, "username", name, ignoreCase)
}

// IsUUID reports whether s has the form of an id of Kong.
func IsUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil } // it takes other forms too
