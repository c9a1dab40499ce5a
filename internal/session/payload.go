package session

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

const (
	compressFrom = 1 << 10 // bytes; smaller payloads gain nothing

	modePlain  byte = 0
	modePacked byte = 1 // packed, then deflated

	chainSize = 16
	maxPlain  = maxPayload + 3*maxSubject + 64 // bytes of an opened payload
)

// nonce is fixed because a payload key seals once.
var nonce = make([]byte, 12)

// payload is what a sealed payload was opened to. Requests share it: it is never changed.
type payload struct {
	chain                [chainSize]byte
	began                int64
	subject, issuer, sid string
	data                 []byte
	decoded              any // what Config.Decode made of data
	names                names
}

// codec turns what a session holds into sealed bytes and back.
type codec struct {
	writers sync.Pool
	readers sync.Pool
}

// info binds the payload's key to the full configuration, of which the header holds short tags.
func info(digest [32]byte, audience string, binding string) string {
	b := []byte(labelPayload)
	b = append(b, digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(audience)))
	b = append(b, audience...)
	return string(append(b, binding...))
}

func (c *codec) seal(k *keys, h *header, info string, s *Session) ([]byte, error) {
	plain := make([]byte, 1, 1+chainSize+8+len(s.Subject)+len(s.Issuer)+len(s.SID)+len(s.Data)+32)
	plain[0] = modePlain
	plain = append(plain, s.chain[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(s.began))
	for _, text := range []string{s.Subject, s.Issuer, s.SID} {
		plain = binary.AppendUvarint(plain, uint64(len(text)))
		plain = append(plain, text...)
	}
	plain = append(plain, s.Data...)
	if len(plain) > compressFrom {
		if small := c.deflate(pack(plain[1:])); len(small) < len(plain) {
			plain = small
		}
	}
	g, err := aead(k.payload, h.id[:], info)
	if err != nil {
		return nil, err
	}
	return g.Seal(plain[:0], nonce, plain, h.associated()), nil
}

// open returns nil for whatever is not exactly what seal made. It overwrites sealed.
func (c *codec) open(k *keys, h *header, info string, sealed []byte) *payload {
	g, err := aead(k.payload, h.id[:], info)
	if err != nil {
		return nil
	}
	plain, err := g.Open(sealed[:0], nonce, sealed, h.associated())
	if err != nil || len(plain) == 0 {
		return nil
	}
	mode, plain := plain[0], plain[1:]
	switch mode {
	case modePlain:
	case modePacked:
		if plain, err = c.inflate(plain); err != nil {
			return nil
		}
		var ok bool
		if plain, ok = unpack(plain, maxPlain); !ok {
			return nil
		}
	default:
		return nil
	}
	if len(plain) < chainSize+8 {
		return nil
	}
	p := &payload{began: int64(binary.BigEndian.Uint64(plain[chainSize:]))}
	copy(p.chain[:], plain)
	plain = plain[chainSize+8:]
	for _, text := range []*string{&p.subject, &p.issuer, &p.sid} {
		n, size := binary.Uvarint(plain)
		if size <= 0 || n > uint64(len(plain)-size) {
			return nil
		}
		*text = string(plain[size : size+int(n)])
		plain = plain[size+int(n):]
	}
	p.data = plain
	return p
}

// deflate returns the mode byte and the compressed text.
func (c *codec) deflate(b []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(b))
	out.WriteByte(modePacked)
	w, _ := c.writers.Get().(*flate.Writer)
	if w == nil {
		w, _ = flate.NewWriter(&out, flate.BestCompression) // the level is valid: no error
	} else {
		w.Reset(&out)
	}
	defer c.writers.Put(w)
	// A bytes.Buffer does not fail.
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

var errInflated = errors.New("compressed session is too large")

// inflate reads at most maxPlain bytes from authentic but still bounded input.
func (c *codec) inflate(b []byte) ([]byte, error) {
	src := bytes.NewReader(b)
	r, _ := c.readers.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(src)
	} else if err := r.(flate.Resetter).Reset(src, nil); err != nil {
		return nil, err
	}
	defer c.readers.Put(r)
	out := bytes.NewBuffer(make([]byte, 0, 2*len(b)+512))
	n, err := out.ReadFrom(io.LimitReader(r, maxPlain))
	if err != nil {
		return nil, err
	}
	if n >= maxPlain {
		return nil, errInflated
	}
	return out.Bytes(), nil
}

var b64 = base64.RawURLEncoding.Strict()
