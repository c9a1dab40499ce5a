package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/Kong/go-pdk"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// Entities finds Kong's own data. For returns a view that also asks the PDK of
// the event under way.
type Entities interface {
	entities.Lookups
	For(pdk entities.Loader) entities.Lookups
}

// consumers adapts package entities to the core.
type consumers struct{ entities Entities }

// loader asks the PDK of one event.
type loader struct{ pdk *pdk.PDK }

// LoadConsumer implements entities.Loader.
func (l loader) LoadConsumer(_ context.Context, idOrName string, byUsername bool) (*entities.Consumer, error) {
	c, err := l.pdk.Client.LoadConsumer(idOrName, byUsername)
	if err != nil {
		return nil, err
	}
	if c.Id == "" {
		return nil, nil
	}
	return &entities.Consumer{ID: c.Id, Username: c.Username, CustomID: c.CustomId, Tags: c.Tags}, nil
}

// lookups is the view for one request.
func (k consumers) lookups(r *rp.Request) entities.Lookups {
	if g, ok := r.Gateway.(interface{ PDK() *pdk.PDK }); ok {
		return k.entities.For(loader{g.PDK()})
	}
	return k.entities
}

// Consumer implements rp.Consumers.
func (k consumers) Consumer(ctx context.Context, r *rp.Request, by rp.ConsumerField, value string, ignoreCase bool) (*rp.Consumer, error) {
	var c *entities.Consumer
	var err error
	l := k.lookups(r)
	switch by {
	case rp.ByID:
		if !entities.IsUUID(value) {
			return nil, nil
		}
		c, err = l.ConsumerByID(ctx, r.Workspace, value)
	case rp.ByUsername:
		c, err = l.ConsumerByUsername(ctx, r.Workspace, value, ignoreCase)
	case rp.ByCustomID:
		c, err = l.ConsumerByCustomID(ctx, r.Workspace, value, ignoreCase)
	}
	if errors.Is(err, entities.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, nil
	}
	return &rp.Consumer{ID: c.ID, Username: c.Username, CustomID: c.CustomID}, nil
}

// ConsumerGroups implements rp.Consumers.
func (k consumers) ConsumerGroups(ctx context.Context, r *rp.Request, names []string) ([]string, bool, error) {
	l := k.lookups(r)
	known, err := l.KnowsGroups(ctx)
	if err != nil || !known {
		if errors.Is(err, entities.ErrNoSource) {
			return nil, false, nil
		}
		return nil, false, err
	}
	var out []string
	for _, n := range names {
		g, err := l.GroupByName(ctx, r.Workspace, n)
		if errors.Is(err, entities.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, true, err
		}
		out = append(out, g.Name)
	}
	return out, true, nil
}

// kongTokens adapts Kong's OAuth2 tokens to the core.
type kongTokens struct {
	entities Entities
}

// KongToken implements rp.KongTokens.
func (k kongTokens) KongToken(ctx context.Context, r *rp.Request, value token.Opaque) (*rp.KongToken, error) {
	t, err := k.entities.OAuth2Token(ctx, r.Workspace, value.Reveal())
	if errors.Is(err, entities.ErrNotFound) || errors.Is(err, entities.ErrNoSource) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t.ServiceID != "" {
		if here, err := serviceOf(r); err != nil || here != t.ServiceID {
			return nil, err // issued for another service
		}
	}
	c, err := k.entities.ConsumerByID(ctx, r.Workspace, t.Credential.ConsumerID)
	if err != nil {
		return nil, err
	}
	out := &rp.KongToken{
		ClientID: t.Credential.ClientID, CredentialID: t.Credential.ID, UserID: t.AuthenticatedUserID, Scope: t.Scope,
		Consumer: rp.Consumer{ID: c.ID, Username: c.Username, CustomID: c.CustomID},
	}
	if t.ExpiresIn > 0 {
		out.Expiry = t.CreatedAt.Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	return out, nil
}

// serviceOf returns the id of the service that the request goes to.
func serviceOf(r *rp.Request) (string, error) {
	g, ok := r.Gateway.(interface{ PDK() *pdk.PDK })
	if !ok {
		return "", nil
	}
	s, err := g.PDK().Router.GetService()
	return s.Id, err
}

func consumerPolicy(c *Config) rp.ConsumerPolicy {
	p := rp.ConsumerPolicy{
		IgnoreCase: c.ByUsernameIgnoreCase, Optional: c.ConsumerOptional, Groups: path(c.ConsumerGroupsClaim), GroupsOptional: c.ConsumerGroupsOptional,
	}
	for _, q := range c.ConsumerClaims {
		if len(q) > 0 {
			p.Claims = append(p.Claims, claims.Path(q))
		}
	}
	for _, b := range c.ConsumerBy {
		p.By = append(p.By, rp.ConsumerField(b))
	}
	return p
}
