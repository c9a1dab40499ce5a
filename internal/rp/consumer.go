package rp

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"kong-openid-connect/internal/claims"
)

// ConsumerField is a field of a Kong consumer.
type ConsumerField string

// The fields by which consumers are looked up.
const (
	ByID       ConsumerField = "id"
	ByUsername ConsumerField = "username"
	ByCustomID ConsumerField = "custom_id"
)

// Consumers looks Kong's consumers up. A lookup that fails is an error, never
// "not found", which is nil.
type Consumers interface {
	Consumer(ctx context.Context, r *Request, by ConsumerField, value string, ignoreCase bool) (*Consumer, error)
	// ConsumerGroups returns those of the names that are groups of Kong's. known
	// is false where this Kong has no consumer groups.
	ConsumerGroups(ctx context.Context, r *Request, names []string) (groups []string, known bool, err error)
}

// ConsumerPolicy maps claims to consumers (behaviour.md 10).
type ConsumerPolicy struct {
	Claims         []claims.Path
	By             []ConsumerField
	IgnoreCase     bool // of usernames
	Optional       bool
	Groups         claims.Path // consumer_groups_claim; nil = off
	GroupsOptional bool
}

// maxConsumerValues bounds how many values of one claim are looked up.
const maxConsumerValues = 20

// mapConsumer finds the consumer that the caller is mapped to; nil where there
// is none and none is needed (behaviour.md 10.1).
func (x *Exchange) mapConsumer(ctx context.Context, id *Identity) (*Consumer, error) {
	p := &x.Policy.Consumer
	if id.Kong != nil {
		return &id.Kong.Consumer, nil
	}
	if len(p.Claims) == 0 {
		return nil, nil
	}
	var looked claims.Path
	for _, path := range p.Claims {
		v, ok := id.Find(path)
		if !ok {
			continue
		}
		looked = path
		c, err := x.lookUpConsumer(ctx, v)
		if c != nil || err != nil {
			return c, err
		}
		break // the first claim that is there is the one that counts (U62)
	}
	if p.Optional {
		return nil, nil
	}
	why := fmt.Errorf("the caller has none of the claims %v", p.Claims)
	if looked != nil {
		why = fmt.Errorf("none has the value of the claim %v as its %v", looked, p.By)
	}
	return nil, &Error{Kind: Forbidden, Description: "no consumer of Kong's fits the caller", Reason: "no_consumer", Err: why}
}

func (x *Exchange) lookUpConsumer(ctx context.Context, v any) (*Consumer, error) {
	p := &x.Policy.Consumer
	// A text is one value, blanks and all; of a list the simple members count.
	values, isText := claims.Strings(v)
	if !isText {
		values = claims.Words(v)
	}
	values = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })
	if len(values) > maxConsumerValues {
		values = values[:maxConsumerValues]
	}
	for _, value := range values {
		for _, by := range p.By {
			c, err := x.Policy.Consumers.Consumer(ctx, x.Request, by, value, p.IgnoreCase && by == ByUsername)
			if err != nil {
				return nil, &Error{Description: "consumers could not be looked up", Reason: "consumer_lookup", Err: err}
			}
			if c != nil {
				return c, nil
			}
		}
	}
	return nil, nil
}

// mapGroups returns the consumer groups of the caller (behaviour.md 10.2). Kong
// without consumer groups gets the names as they are.
func (x *Exchange) mapGroups(ctx context.Context, id *Identity) ([]string, error) {
	p := &x.Policy.Consumer
	if p.Groups == nil {
		return nil, nil
	}
	v, _ := id.Find(p.Groups)
	names := claims.Words(v)
	groups, known, err := x.Policy.Consumers.ConsumerGroups(ctx, x.Request, names)
	switch {
	case err != nil:
		return nil, &Error{Description: "consumer groups could not be looked up", Reason: "consumer_lookup", Err: err}
	case !known:
		groups = names
	}
	if len(groups) == 0 && !p.GroupsOptional {
		return nil, &Error{Kind: Forbidden, Description: "no consumer group of Kong's fits the caller", Reason: "no_consumer_group"}
	}
	return groups, nil
}

// principal learns whom Kong is to take the caller for.
func (x *Exchange) principal(ctx context.Context, id *Identity) (*Principal, error) {
	p := x.Policy
	pr := &Principal{}
	entry, err := x.lookUpPrincipal(ctx, id)
	if err != nil {
		return nil, err
	}
	if pr.Consumer, err = x.attachedConsumer(ctx, entry); err != nil {
		return nil, err
	}
	if pr.Consumer == nil {
		if pr.Consumer, err = x.mapConsumer(ctx, id); err != nil {
			return nil, err
		}
	}
	if entry != nil {
		pr.DirectoryID = entry.ID
	}
	if entry != nil && len(entry.Groups) > 0 && p.Principals.MatchGroups {
		pr.ConsumerGroups = entry.Groups
	} else if pr.ConsumerGroups, err = x.mapGroups(ctx, id); err != nil {
		return nil, err
	}
	switch {
	case id.Kong != nil:
		pr.CredentialID, pr.kong = id.Kong.CredentialID, id.Kong
	case p.Credential != nil:
		if v, ok := id.Find(p.Credential); ok {
			if s, ok := claimText(v); ok && len(s) <= DefaultMaxHeader {
				pr.CredentialID = s
			}
		}
	}
	if p.Groups != nil {
		if v, ok := id.Find(p.Groups); ok {
			pr.Groups = claims.Words(v)
		}
	}
	return pr, nil
}

// apply writes the headers that name a principal (behaviour.md 10.6).
func (pr *Principal) apply(d *Decision) {
	set := func(name, v string) {
		if v != "" {
			d.Upstream.Set = put(d.Upstream.Set, Field{name, v})
		}
	}
	if c := pr.Consumer; c != nil {
		set("X-Consumer-Id", c.ID)
		set("X-Consumer-Custom-Id", c.CustomID)
		set("X-Consumer-Username", c.Username)
	}
	set("X-Credential-Identifier", pr.CredentialID)
	set("X-Authenticated-Groups", joinList(pr.Groups))
	set("X-Consumer-Groups", joinList(pr.ConsumerGroups))
	if pr.kong != nil { // as Kong's OAuth2 plugin does
		set("X-Authenticated-Scope", pr.kong.Scope)
		set("X-Authenticated-Userid", pr.kong.UserID)
	}
	if pr.Anonymous {
		set("X-Anonymous-Consumer", "true")
	}
	d.Authenticate = pr
}

// standAside passes a request on that an earlier plugin has authenticated: only
// the names that this configuration maps are stripped (behaviour.md 10.7).
func (x *Exchange) standAside() *Decision {
	d := &Decision{Reason: "authenticated_before"}
	x.strip(&d.Upstream, true)
	return d
}

// fallBack lets a denied request through as the anonymous consumer, where one is
// configured and the denial is of the kind that it stands in for. nil: it does
// not apply.
func (x *Exchange) fallBack(ctx context.Context, denial error) (*Decision, error) {
	p := x.Policy
	e := errorOf(denial)
	if p.Anonymous == "" || e.Final || e.Kind != Unauthorized && e.Kind != Forbidden {
		return nil, nil
	}
	var c *Consumer
	var err error
	if isUUID(p.Anonymous) {
		c, err = p.Consumers.Consumer(ctx, x.Request, ByID, p.Anonymous, false)
	}
	if c == nil && err == nil {
		c, err = p.Consumers.Consumer(ctx, x.Request, ByUsername, p.Anonymous, false)
	}
	switch {
	case err != nil:
		return nil, &Error{Description: "the anonymous consumer could not be looked up", Reason: "consumer_lookup", Err: err}
	case c == nil:
		return nil, &Error{Description: "the anonymous consumer does not exist: create it, or correct the parameter anonymous", Reason: "no_anonymous"}
	}
	d := &Decision{Reason: "anonymous"}
	x.strip(&d.Upstream, false)
	(&Principal{Consumer: c, Anonymous: true}).apply(d)
	gone := x.destroyDenied(ctx, e)
	d.setCookies(append(x.cookies, gone...))
	return d, nil
}

func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // it takes other forms too
}
