package plugin

import "testing"

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
