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
)

// nonce is fixed because a payload key seals once.
var nonce = make([]byte, 12)

// codec turns subject and data into sealed bytes and back.
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

func (c *codec) seal(k *keys, h *header, info, subject string, data []byte) ([]byte, error) {
	plain := make([]byte, 1, 1+binary.MaxVarintLen64+len(subject)+len(data)+16)
	plain[0] = modePlain
	plain = binary.AppendUvarint(plain, uint64(len(subject)))
	plain = append(plain, subject...)
	plain = append(plain, data...)
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

// open returns ok false for whatever is not exactly what seal made. It overwrites sealed.
func (c *codec) open(k *keys, h *header, info string, sealed []byte) (subject string, data []byte, ok bool) {
	g, err := aead(k.payload, h.id[:], info)
	if err != nil {
		return "", nil, false
	}
	plain, err := g.Open(sealed[:0], nonce, sealed, h.associated())
	if err != nil || len(plain) == 0 {
		return "", nil, false
	}
	mode, plain := plain[0], plain[1:]
	switch mode {
	case modePlain:
	case modePacked:
		if plain, err = c.inflate(plain); err != nil {
			return "", nil, false
		}
		if plain, ok = unpack(plain, maxPayload+maxSubject+16); !ok {
			return "", nil, false
		}
	default:
		return "", nil, false
	}
	n, k2 := binary.Uvarint(plain)
	if k2 <= 0 || n > uint64(len(plain)-k2) {
		return "", nil, false
	}
	plain = plain[k2:]
	return string(plain[:n]), plain[n:], true
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

// inflate reads at most maxPayload bytes (and the subject) from authentic but still bounded input.
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
	n, err := out.ReadFrom(io.LimitReader(r, maxPayload+maxSubject+16))
	if err != nil {
		return nil, err
	}
	if n >= maxPayload+maxSubject+16 {
		return nil, errInflated
	}
	return out.Bytes(), nil
}

var b64 = base64.RawURLEncoding.Strict()
