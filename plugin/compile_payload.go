package plugin

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
)

// The payload of a session, as it is sealed: a version, the three tokens with
// their lengths before them, and the rest in JSON. It is read at every request,
// and tokens are most of it.
const payloadVersion = 1

// stored is the rest.
type stored struct {
	Method        string          `json:"m"`
	Client        int             `json:"c,omitempty"`
	TokenType     string          `json:"tt,omitempty"`
	Scope         string          `json:"s,omitempty"`
	Expiry        int64           `json:"x,omitempty"`
	Introspection json.RawMessage `json:"in,omitempty"`
	UserInfo      json.RawMessage `json:"ui,omitempty"`
}

func pack(t rp.StoredTokens) []byte {
	s := stored{Method: string(t.Method), Client: t.Client, TokenType: t.TokenType, Scope: t.Scope, Introspection: packClaims(t.Introspection), UserInfo: packClaims(t.UserInfo)}
	if !t.Expiry.IsZero() {
		s.Expiry = t.Expiry.Unix()
	}
	rest := mustJSON(s)
	b := append(make([]byte, 0, len(t.AccessToken)+len(t.IDToken)+len(t.RefreshToken)+len(rest)+16), payloadVersion)
	for _, raw := range []token.Opaque{t.AccessToken, t.IDToken, t.RefreshToken} {
		b = binary.AppendUvarint(b, uint64(len(raw)))
		b = append(b, raw.Reveal()...)
	}
	return append(b, rest...)
}

func packClaims(c claims.Object) json.RawMessage {
	if c == nil {
		return nil
	}
	return mustJSON(c)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("session payload: " + err.Error()) // claims come from JSON
	}
	return b
}

// errPayload says that a session was sealed by a version that wrote otherwise.
var errPayload = errors.New("the session's payload is of another version")

// opened is what a payload was decoded to. Requests share it: it is never changed.
type opened struct {
	tokens rp.StoredTokens
	read   *rp.ReadTokens
}

// Weight implements session.Weighted: claims take many times the bytes of their JSON.
func (o *opened) Weight() int {
	return 512 + o.tokens.Introspection.Weight() + o.tokens.UserInfo.Weight() + o.read.Weight()
}

// decodePayload is session.Config.Decode.
func decodePayload(data []byte) (any, error) {
	t, err := unpackTokens(data)
	if err != nil {
		return nil, err
	}
	read := rp.NewReadTokens(&t)
	return &opened{t, read}, nil
}

// unpack returns what o keeps, and what was read of it before; nil where that is not kept.
func unpack(o *session.Session) (rp.StoredTokens, *rp.ReadTokens, error) {
	var t rp.StoredTokens
	var read *rp.ReadTokens
	if d, ok := o.Decoded().(*opened); ok {
		t, read = d.tokens, d.read
	} else {
		var err error
		if t, err = unpackTokens(o.Data); err != nil {
			return rp.StoredTokens{}, nil, err
		}
	}
	t.Issuer, t.SID = o.Issuer, o.SID
	return t, read, nil
}

func unpackTokens(b []byte) (rp.StoredTokens, error) {
	if len(b) == 0 || b[0] != payloadVersion {
		return rp.StoredTokens{}, errPayload
	}
	b = b[1:]
	var raw [3]token.Opaque
	for i := range raw {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return rp.StoredTokens{}, errPayload
		}
		raw[i], b = token.Opaque(b[used:used+int(n)]), b[used+int(n):]
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return rp.StoredTokens{}, errPayload
	}
	t := rp.StoredTokens{
		Method: rp.Method(s.Method), Client: s.Client, AccessToken: raw[0], IDToken: raw[1], RefreshToken: raw[2], TokenType: s.TokenType, Scope: s.Scope,
	}
	if s.Expiry != 0 {
		t.Expiry = time.Unix(s.Expiry, 0)
	}
	var err error
	if t.Introspection, err = unpackClaims(s.Introspection); err != nil {
		return rp.StoredTokens{}, err
	}
	t.UserInfo, err = unpackClaims(s.UserInfo)
	return t, err
}

func unpackClaims(raw json.RawMessage) (claims.Object, error) {
	if raw == nil {
		return nil, nil
	}
	c, err := claims.Decode(raw)
	if err != nil {
		return nil, errPayload
	}
	return c, nil
}
