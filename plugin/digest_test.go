package plugin

import (
	"testing"

	"kong-openid-connect/internal/param"
)

// TestSessionsAreSharedWhereOneListIsRead: a logout on one route must end the
// session on every other that would take it.
func TestSessionsAreSharedWhereOneListIsRead(t *testing.T) {
	with := func(list RevocationStorage, host string) [32]byte {
		c := &Config{}
		c.Issuer, c.SessionRevocationStorage = "https://idp.example.com", list
		c.Redis.Host = host
		return identityDigest(c)
	}
	one := with(RevocationStorageRedis, "one")
	if one != with(RevocationStorageRedis, "one") {
		t.Error("equal configurations do not share sessions")
	}
	if one == with(RevocationStorageRedis, "two") || one == with(RevocationStorageAuto, "one") {
		t.Error("configurations with different lists share sessions")
	}
	if with(RevocationStorageAuto, "one") != with(RevocationStorageAuto, "two") {
		t.Error("a Redis that holds no list keeps sessions apart")
	}
}

// TestSessionsAreApartWhereKeysAre: who may sign for an issuer is part of what a session stands for.
func TestSessionsAreApartWhereKeysAre(t *testing.T) {
	with := func(keys ...IssuerKeySource) [32]byte {
		c := &Config{}
		c.Issuer, c.IssuerKeys = "https://idp.example.com", keys
		return identityDigest(c)
	}
	bound := IssuerKeySource{Issuer: "https://b.example.org", JWKSURIs: []param.URL{"https://b.example.org/keys"}}
	if with() == with(bound) || with(bound) != with(bound) {
		t.Error("sessions do not follow issuer_keys")
	}
}
