package adminapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/kong/entities"
)

// oauth2Token is a token of Kong's own as the Admin API writes it.
type oauth2Token struct {
	ID                  string               `json:"id"`
	AccessToken         string               `json:"access_token"`
	CreatedAt           float64              `json:"created_at"`
	ExpiresIn           int                  `json:"expires_in"`
	Scope               string               `json:"scope"`
	AuthenticatedUserID string               `json:"authenticated_userid"`
	Service             *struct{ ID string } `json:"service"`
	Credential          struct{ ID string }  `json:"credential"`
}

const (
	tokensKept = time.Second // how long a list is used
	tokensTime = 20 * time.Second
)

// tokenList knows Kong's OAuth2 tokens by their hashes. They are listed and not
// asked for one by one: the Admin API writes what it is asked for to its access
// log, and every opaque token that a client presents is looked for, be it of
// Kong's or of a provider's.
type tokenList struct {
	flight singleflight.Group

	mu    sync.Mutex
	of    map[[sha256.Size]byte]oauth2Token
	until time.Time
}

// find returns the token of this value; ErrNotFound where there is none.
func (k *tokenList) find(ctx context.Context, l *Lookups, value string) (*oauth2Token, error) {
	k.mu.Lock()
	all, fresh := k.of, time.Now().Before(k.until)
	k.mu.Unlock()
	if !fresh {
		done := k.flight.DoChan("", func() (v any, err error) {
			defer fault.Recover(&err)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokensTime)
			defer cancel()
			list, err := l.listTokens(ctx)
			if err != nil {
				return nil, err
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			k.of, k.until = list, time.Now().Add(tokensKept)
			return list, nil
		})
		select {
		case r := <-done:
			if r.Err != nil {
				return nil, r.Err
			}
			all = r.Val.(map[[sha256.Size]byte]oauth2Token)
		case <-ctx.Done():
			return nil, &entities.LookupError{What: "OAuth2 token", Err: ctx.Err()}
		}
	}
	t, ok := all[sha256.Sum256([]byte(value))]
	if !ok {
		return nil, entities.ErrNotFound
	}
	return &t, nil
}

// listTokens reads all tokens, page by page. A Kong without them has none.
func (l *Lookups) listTokens(ctx context.Context) (map[[sha256.Size]byte]oauth2Token, error) {
	all := map[[sha256.Size]byte]oauth2Token{}
	path := fmt.Sprintf("/oauth2_tokens?size=%d", pageSize)
	for range maxPages {
		var p struct {
			Data   []oauth2Token
			Offset string
		}
		if err := l.get(ctx, "OAuth2 tokens", path, &p); err != nil {
			if errors.Is(err, entities.ErrNotFound) && len(all) == 0 {
				return all, nil
			}
			return nil, err
		}
		for _, t := range p.Data {
			hash := sha256.Sum256([]byte(t.AccessToken))
			t.AccessToken = ""
			all[hash] = t
		}
		if p.Offset == "" {
			return all, nil
		}
		path = fmt.Sprintf("/oauth2_tokens?size=%d&offset=%s", pageSize, url.QueryEscape(p.Offset))
	}
	return nil, &entities.LookupError{What: "OAuth2 token", Err: fmt.Errorf("there are more than %d tokens: use a database, or take kong_oauth2 out of auth_methods", maxPages*pageSize)}
}
