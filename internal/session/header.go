package session

import (
	"encoding/base64"
	"encoding/binary"
)

// header is the sealed part of a segment that every request reads first.
// Times are Unix seconds.
type header struct {
	flags    byte
	id       [32]byte
	created  int64    // login
	rolled   int64    // login or last renewal
	touched  int64    // last touch
	until    int64    // after this second it is dead by its maker's own timers; 0: not known
	digest   [16]byte // identity configuration
	audience [8]byte
	subject  [8]byte
	binding  [8]byte
}

const (
	headerVersion = 1
	headerSize    = 1 + 1 + 32 + 8 + 4 + 4 + 4 + 16 + 8 + 8 + 8
	// The sealed text: 256 characters while Unix time has ten digits.
	minHeaderText, maxHeaderText = 240, 260

	flagStored byte = 1 << 0 // the payload is in the Store
)

// marshal lays the header out; offsets are from created.
func (h *header) marshal() []byte {
	b := make([]byte, 0, headerSize+32)
	b = append(b, headerVersion, h.flags)
	b = append(b, h.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.created))
	b = binary.BigEndian.AppendUint32(b, offset(h.created, h.rolled))
	b = binary.BigEndian.AppendUint32(b, offset(h.created, h.touched))
	b = binary.BigEndian.AppendUint32(b, offset(h.created, h.until))
	b = append(b, h.digest[:]...)
	b = append(b, h.audience[:]...)
	b = append(b, h.subject[:]...)
	return append(b, h.binding[:]...)
}

func offset(from, to int64) uint32 {
	return uint32(min(max(to-from, 0), 1<<32-1))
}

// unmarshal reads what marshal wrote. It is only given authentic bytes, and still checks them.
func (h *header) unmarshal(b []byte) bool {
	if len(b) != headerSize || b[0] != headerVersion {
		return false
	}
	h.flags = b[1]
	copy(h.id[:], b[2:])
	h.created = int64(binary.BigEndian.Uint64(b[34:]))
	if h.created < 0 || h.created > 1<<40 {
		return false
	}
	h.rolled = h.created + int64(binary.BigEndian.Uint32(b[42:]))
	h.touched = h.created + int64(binary.BigEndian.Uint32(b[46:]))
	h.until = 0
	if o := binary.BigEndian.Uint32(b[50:]); o != 0 {
		h.until = h.created + int64(o)
	}
	copy(h.digest[:], b[54:])
	copy(h.audience[:], b[70:])
	copy(h.subject[:], b[78:])
	copy(h.binding[:], b[86:])
	return true
}

// associated is what the payload is authenticated with: all of the header but
// its times, which a touch changes, and which the cookies `session` and
// `remember` hold differently for one payload.
func (h *header) associated() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, headerVersion, h.flags)
	b = append(b, h.id[:]...)
	b = append(b, h.digest[:]...)
	b = append(b, h.audience[:]...)
	b = append(b, h.subject[:]...)
	return append(b, h.binding[:]...)
}

// public is the session's id as headers and storage show it.
func (h *header) public() string { return base64.RawURLEncoding.EncodeToString(h.id[:]) }
