package provider

// typeAccessToken is the one type of token that is exchanged and issued (RFC
// 8693 section 3).
const typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"

// exchangeGrant is RFC 8693 section 2: a new access token for the subject of one
// that this provider issued or minted, with the scopes and the audience that
// are asked for. Impersonation only; there is no actor token.
func (p *Provider) exchangeGrant(x *exchange, c *Client) (issue, *oauthError) {
	bad := func(code, description string) (issue, *oauthError) {
		e := refuse(code, description)
		return issue{}, &e
	}
	switch {
	case c.public():
		return bad("unauthorized_client", "a public client may not exchange tokens")
	case x.body.Get("subject_token_type") != typeAccessToken:
		return bad("invalid_request", "subject_token_type must be "+typeAccessToken)
	case x.body.Get("requested_token_type") != "" && x.body.Get("requested_token_type") != typeAccessToken:
		return bad("invalid_request", "requested_token_type must be "+typeAccessToken)
	case x.body.Get("actor_token") != "":
		return bad("invalid_request", "actor_token is not supported")
	}
	subject := p.alive(x.body.Get("subject_token"))
	if subject == nil {
		return bad("invalid_request", "the subject token is unknown, expired or revoked")
	}
	g, fail := requested(x, c, subject.grant.user)
	if fail != nil {
		return issue{}, fail
	}
	g.sid, g.authTime = subject.grant.sid, subject.grant.authTime
	return issue{grant: g, kind: typeAccessToken}, nil
}
