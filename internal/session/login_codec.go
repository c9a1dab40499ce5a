package session

import (
	"encoding/base64"
	"encoding/binary"
	"time"
)

const (
	loginVersion = 1
	digestTag    = 16 // bytes of the configuration's digest
)

// marshal lays a login out for its cookie. Strings are kept byte for byte:
// an address need not be valid UTF-8.
func (l *Login) marshal(st *state, digest [32]byte) []byte {
	b := make([]byte, 0, 256+len(l.ReturnTo)+len(l.RedirectURI)+len(l.Extra))
	b = append(b, loginVersion)
	b = append(b, st.id[:]...)
	b = append(b, digest[:digestTag]...)
	b = binary.BigEndian.AppendUint64(b, uint64(st.began))
	b = binary.AppendUvarint(b, uint64(max(l.Attempt, 0)))
	b = binary.AppendUvarint(b, uint64(max(l.Client, 0)))
	for _, s := range l.texts() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	return b
}

// unmarshal reads what marshal wrote.
func (l *Login) unmarshal(b []byte, id *[stateIDSize]byte, digest *[digestTag]byte) bool {
	const fixed = 1 + stateIDSize + digestTag + 8
	if len(b) < fixed || b[0] != loginVersion {
		return false
	}
	copy(id[:], b[1:])
	copy(digest[:], b[1+stateIDSize:])
	l.id = base64.RawURLEncoding.EncodeToString(id[:])
	l.began = time.Unix(int64(binary.BigEndian.Uint64(b[fixed-8:])), 0)
	b = b[fixed:]
	ok := true
	number := func(limit uint64) int {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > limit {
			ok, b = false, nil
			return 0
		}
		b = b[k:]
		return int(n)
	}
	l.Attempt, l.Client = number(1<<7), number(1<<16)
	for _, s := range l.texts() {
		n := number(maxLoginCookie)
		if n > len(b) {
			return false
		}
		*s, b = string(b[:n]), b[n:]
	}
	return ok && len(b) == 0
}

// texts lists the strings of a login in the order of its layout.
func (l *Login) texts() [6]*string {
	return [...]*string{&l.Nonce, &l.CodeVerifier, &l.RedirectURI, &l.ReturnTo, &l.Method, &l.Extra}
}
