// Package wire moves frames between Kong and this process: the framing of
// Kong's plugin-server protocol, and a connection that pipelines PDK calls.
// It knows frames and method names, and nothing of what they mean to a request.
// Imported by kong/pdkio, kong/server and kong/entities.
package wire

import (
	"encoding/binary"
	"fmt"
)

// DefaultMaxFrame bounds an incoming frame. Kong's largest is a request's
// headers or an instance's configuration, both far below.
const DefaultMaxFrame = 64 << 20

// headerSize is the length of a frame's length: uint32, little-endian.
const headerSize = 4

// FrameError is a frame that promises more bytes than are accepted.
type FrameError struct {
	Length uint32
	Max    int
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("frame of %d bytes exceeds the limit of %d", e.Length, e.Max)
}

// AppendFrame appends payload as one frame to b.
func AppendFrame[T string | []byte](b []byte, payload T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// CutFrame splits the first frame off b. It returns ok false, and no error,
// while the frame is incomplete; a *FrameError where it exceeds max.
func CutFrame(b []byte, max int) (payload, rest []byte, ok bool, err error) {
	if len(b) < headerSize {
		return nil, b, false, nil
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(max) {
		return nil, b, false, &FrameError{Length: n, Max: max}
	}
	end := headerSize + int(n)
	if len(b) < end {
		return nil, b, false, nil
	}
	return b[headerSize:end:end], b[end:], true, nil
}
