package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

func providerLogoutPolicy(c *Config) rp.ProviderLogoutPolicy {
	return rp.ProviderLogoutPolicy{BackChannel: c.BackchannelLogoutURISuffix, FrontChannel: c.FrontchannelLogoutURISuffix}
}

// VerifyLogoutToken implements rp.Provider. Nothing that the configuration
// leaves unverified elsewhere is left so here: whoever can write such a token
// logs people out.
func (p *relyingProvider) VerifyLogoutToken(ctx context.Context, raw token.Opaque) (*token.Logout, error) {
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return nil, providerError(err)
	}
	rules := token.LogoutRules{Issuers: token.Issuers{Expected: []string{m.Issuer}, Enforced: true}, Leeway: p.leeway}
	if len(p.allowed) > 0 {
		rules.Issuers.Expected = p.allowed
	}
	if algs, ok := claims.Strings(m.Document["id_token_signing_alg_values_supported"]); ok && len(algs) > 0 {
		rules.Algorithms = algs
	}
	failed := fmt.Errorf("%w: aud names none of the clients", token.ErrClaims)
	for i, cl := range p.clients {
		if cl == nil {
			continue
		}
		v := p.verifier(i, rp.MethodAuthorizationCode)
		u, err := v.Parse(ctx, raw.Reveal(), token.UseLogout) // an encrypted one opens with its own client's key
		if err != nil {
			failed = err
			continue
		}
		if !slices.Contains(u.Audience(), cl.ID()) {
			continue
		}
		rules.ClientID = cl.ID()
		l, err := token.VerifyLogout(ctx, v, u, &rules, p.now())
		if err != nil {
			return nil, logoutError(err)
		}
		return l, nil
	}
	return nil, logoutError(failed)
}

func logoutError(err error) error {
	err = tokenError(err)
	if e := (*rp.Error)(nil); errors.As(err, &e) && e.Kind == rp.Unauthorized {
		return &rp.Error{Kind: rp.Invalid, Description: "the logout token is refused: " + e.Description, Reason: "logout_token_" + e.Reason, Err: e.Err}
	}
	return err
}
