package rp

import (
	"slices"

	"kong-openid-connect/internal/token"
)

// Place is where in a request a credential was found.
type Place uint8

// The places, in the order in which they are searched (U22).
const (
	PlaceHeader Place = iota + 1
	PlaceQuery
	PlaceBody
	PlaceCookie
)

// Credential is what a client presents to be authenticated by one method.
type Credential struct {
	Method Method
	Place  Place
	Name   string       // header, argument or cookie that held it
	Token  token.Opaque // bearer token, refresh token
	User   string       // user name or client id
	Secret token.Opaque // password or client secret

	session      *Session
	callback     *callback
	dpop         bool     // it came with the DPoP scheme
	assertsGrant bool     // Token is an assertion that is the grant itself
	others       []string // further arguments that belong to the credential
}

// args are the arguments that the credential consists of.
func (c *Credential) args() []string { return append(slices.Clone(c.others), c.Name) }

// Places says where one kind of credential may stand.
type Places struct {
	Header, Query, Body, Cookie bool
}
