package plugin_test

import (
	"strings"
	"testing"

	"kong-openid-connect/internal/testservers"
)

// Case 53: where Redis keeps the list of ended sessions alone, the nodes claim
// DPoP proofs in it too.
func TestCase53ProofsAreClaimedInTheRedisOfTheList(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	a, b, _ := twoNodes(t, map[string]any{
		"issuer": "{{issuer}}", "client_id": []any{"kong"}, "auth_methods": []any{"bearer"}, "proof_of_possession_dpop": "strict",
		"session_revocation_storage": "redis",
		"redis":                      map[string]any{"host": r.Host, "port": r.Port, "prefix": "ended", "connect_timeout": 500, "send_timeout": 500, "read_timeout": 500},
	})
	proven := func() decisionRequest {
		return decisionRequest{Target: "/a", Headers: map[string]string{"authorization": "DPoP {{keybound}}", "dpop": a.holder.proof("GET", "http://localhost:8000/a")}}
	}
	once := proven()
	a.send(once)
	a.want(0)
	b.send(once)
	b.want(401)
	if b.answer.Reason != "invalid_dpop_proof" {
		t.Errorf("the replay is refused for %s: %v", b.answer.Reason, b.answer.Err)
	}
	if keys := r.MustDo("KEYS", "*"); !strings.HasPrefix(keys, "ended:lock:dpop-") {
		t.Errorf("Redis holds %q", keys)
	}
	b.send(proven())
	b.want(0)

	r.Kill()
	again := proven()
	a.send(again)
	a.want(503)
	r.Start()
	a.send(again)
	a.want(401) // it was seen, whatever became of it
	a.send(proven())
	a.want(0)
}
