package memory

import (
	"slices"
	"time"

	"kong-openid-connect/internal/store"
)

// state is the content of the state file. It is replaced, never changed in place.
type state struct {
	Version int          `json:"version"`
	Secrets []keptSecret `json:"secrets"`
	Keys    []keptKey    `json:"keys"`
}

type keptSecret struct {
	ID         string    `json:"id"`
	Issuer     string    `json:"issuer"`
	Scope      string    `json:"scope,omitempty"`
	Configured string    `json:"configured"`
	CreatedAt  time.Time `json:"created_at"`
	Sealed     []byte    `json:"secret"`

	secret store.Secret
}

func (k *keptSecret) key() store.Key { return store.Key{Issuer: k.Issuer, Scope: k.Scope} }

func (k *keptSecret) label() string { return "session secret\x00" + k.Issuer + "\x00" + k.Scope }

type keptKey struct {
	KID       string     `json:"kid"`
	Algorithm string     `json:"alg"`
	Slot      store.Slot `json:"slot"`
	CreatedAt time.Time  `json:"created_at"`
	Sealed    []byte     `json:"private"`

	private store.Secret
}

func (k *keptKey) label() string { return "own key\x00" + k.KID + "\x00" + k.Algorithm }

func (k *keptKey) own() store.OwnKey {
	return store.OwnKey{KID: k.KID, Algorithm: k.Algorithm, Slot: k.Slot, CreatedAt: k.CreatedAt, Private: k.private}
}

func keptKeyOf(k store.OwnKey) keptKey {
	return keptKey{KID: k.KID, Algorithm: k.Algorithm, Slot: k.Slot, CreatedAt: k.CreatedAt, private: k.Private}
}

func (s *state) secret(k store.Key) *keptSecret {
	for i := range s.Secrets {
		if s.Secrets[i].Issuer == k.Issuer && s.Secrets[i].Scope == k.Scope {
			return &s.Secrets[i]
		}
	}
	return nil
}

func (s *state) ownKeys() []store.OwnKey {
	all := make([]store.OwnKey, 0, len(s.Keys))
	for i := range s.Keys {
		all = append(all, s.Keys[i].own())
	}
	slices.SortStableFunc(all, func(a, b store.OwnKey) int { return int(a.Slot) - int(b.Slot) })
	return all
}

func keysDiffer(a, b []keptKey) bool {
	return !slices.EqualFunc(a, b, func(x, y keptKey) bool { return x.KID == y.KID && x.Slot == y.Slot })
}
