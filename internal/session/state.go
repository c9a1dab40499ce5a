package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

const (
	stateVersion = 1
	stateIDSize  = 16
	// maxStateReturn bounds the return address within `state`: providers and proxies cut long URLs.
	maxStateReturn = 1024
	// MaxState is the length in characters that no `state` exceeds.
	MaxState = (stateIDSize+1+8+1+maxStateReturn+16)*4/3 + 4

	stateTrimmed byte = 1 << 7 // beside the attempt: the address was too long and is not whole
)

// state is what the `state` parameter seals: enough to begin the login again
// where its cookie is gone.
type state struct {
	id       [stateIDSize]byte
	began    int64
	attempt  byte
	trimmed  bool
	returnTo string
}

// seal returns `state`: the id, then the rest under a key that the id makes
// (AES-256-GCM). Each id seals once.
func (s *state) seal(k *keys) (string, error) {
	g, err := aead(k.state, s.id[:], labelState)
	if err != nil {
		return "", fmt.Errorf("sealing the state of a login: %w", err)
	}
	plain := make([]byte, 0, 10+len(s.returnTo)+16)
	plain = append(plain, stateVersion)
	plain = binary.BigEndian.AppendUint64(plain, uint64(s.began))
	flags := s.attempt
	if s.trimmed {
		flags |= stateTrimmed
	}
	plain = append(plain, flags)
	plain = append(plain, s.returnTo...)
	sealed := g.Seal(append([]byte(nil), s.id[:]...), nonce, plain, s.id[:])
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openState opens what seal made under one of the secrets.
func openState(ring []*keys, text string) (state, bool) {
	var s state
	if len(text) > MaxState || len(text) < (stateIDSize+10+16)*4/3 {
		return s, false
	}
	for i := range len(text) {
		if !isBase64URL(text[i]) { // the decoder overlooks line breaks
			return s, false
		}
	}
	b, err := b64.DecodeString(text)
	if err != nil || len(b) < stateIDSize {
		return s, false
	}
	copy(s.id[:], b)
	for _, k := range ring {
		g, err := aead(k.state, s.id[:], labelState)
		if err != nil {
			return s, false
		}
		plain, err := g.Open(nil, nonce, b[stateIDSize:], s.id[:])
		if err != nil {
			continue
		}
		if len(plain) < 10 || plain[0] != stateVersion {
			return s, false
		}
		s.began = int64(binary.BigEndian.Uint64(plain[1:]))
		s.attempt, s.trimmed = plain[9]&^stateTrimmed, plain[9]&stateTrimmed != 0
		s.returnTo = string(plain[10:])
		return s, true
	}
	return s, false
}
