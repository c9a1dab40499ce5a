package op

import (
	"net/http"
	"strings"
	"sync"

	"kong-openid-connect/internal/token"
)

// maxNonces bounds how many servers' nonces a provider keeps.
const maxNonces = 64

// maxNonce bounds a nonce in bytes; it goes into a header line.
const maxNonce = 1024

// nonces are those that servers want to see in the next proof (RFC 9449
// section 8.2), by host.
type nonces struct {
	mu sync.Mutex
	of map[string]string
}

func (n *nonces) get(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[host]
}

func (n *nonces) put(host, nonce string) {
	if nonce == "" || len(nonce) > maxNonce {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]string{}
	}
	if _, known := n.of[host]; known || len(n.of) < maxNonces {
		n.of[host] = nonce
	}
}

// withDPoP makes a call with a proof of possession in its header, and once more
// if the server wants a nonce in it that it has just told. A nil signer makes
// no proof.
func (p *Provider) withDPoP(s *token.DPoPSigner, method, address string, access token.Opaque, do func(http.Header) (*answer, error)) (*answer, error) {
	if s == nil {
		return do(http.Header{})
	}
	host := hostOf(address)
	for attempt := 0; ; attempt++ {
		proof, err := s.Proof(method, address, access, p.nonces.get(host), p.env.Now())
		if err != nil {
			return nil, &Error{Call: "DPoP proof", Kind: Misconfigured, Host: host, Err: err}
		}
		a, err := do(http.Header{"Dpop": {proof.Reveal()}})
		if err != nil {
			return nil, err
		}
		told := a.header.Get("DPoP-Nonce")
		p.nonces.put(host, told)
		if attempt > 0 || told == "" || !a.wantsNonce() {
			return a, nil
		}
	}
}

// wantsNonce reports whether the server refused a proof for want of a nonce: by
// the body at the provider's endpoints, by the challenge at resources (RFC 9449
// sections 8 and 9).
func (a *answer) wantsNonce() bool {
	if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized {
		return false
	}
	if strings.Contains(a.header.Get("WWW-Authenticate"), token.UseDPoPNonce) {
		return true
	}
	o, err := a.object()
	return err == nil && stringOf(o, "error") == token.UseDPoPNonce
}
