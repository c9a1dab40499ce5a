package clientauth

import (
	"errors"
	"slices"

	"kong-openid-connect/internal/token"
)

// RequestSigner returns what signs the client's request objects (RFC 9101):
// with `client_alg` if that is set, else with an algorithm of the provider's
// list, RS256 first where the list has it or is nil; by the client's own key,
// else by the plugin's.
func (c *Client) RequestSigner(advertised []string) (*token.Signer, error) {
	if c == nil || c.id == "" {
		return nil, ErrNoClient
	}
	if c.algorithm != "" {
		if c.secretJWT != nil && c.secretJWT.Algorithm() == c.algorithm {
			return c.secretJWT, nil
		}
		if c.keyJWT != nil || c.own != nil && !slices.Contains(symmetric, c.algorithm) {
			return c.privateSigner()
		}
		return nil, errors.New("a signed request object with client_alg " + c.algorithm + " lacks a key: set client_jwk, or client_secret for an HS algorithm")
	}
	accepted := func(alg string) bool { return advertised == nil || slices.Contains(advertised, alg) }
	if c.keyJWT != nil {
		if accepted(c.keyJWT.Algorithm()) {
			return c.keyJWT, nil
		}
		// The key may serve for another algorithm.
		for _, alg := range advertised {
			if slices.Contains(symmetric, alg) {
				continue
			}
			if s, err := token.NewKeySigner(c.jwk, alg); err == nil {
				return s, nil
			}
		}
		return nil, errors.New("client_jwk signs with no algorithm that the provider accepts for request objects: set client_alg")
	}
	if c.own == nil {
		return nil, errors.New("a signed request object lacks a key: set client_jwk")
	}
	if accepted("RS256") {
		return c.own("RS256")
	}
	for _, alg := range advertised {
		if alg == "none" || slices.Contains(symmetric, alg) {
			continue
		}
		if s, err := c.own(alg); err == nil {
			return s, nil
		}
	}
	return nil, errors.New("no own key signs with an algorithm that the provider accepts for request objects: set client_alg")
}

// symmetric are the algorithms that sign with a client secret.
var symmetric = []string{"HS256", "HS384", "HS512"}
