package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	kong "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// MaxFrame bounds what a plugin server may send in one frame. Kong has no
// such bound; the sandbox must not be the one that runs out of memory.
const MaxFrame = 64 << 20

// ReadFrame reads one frame: a length of four little-endian bytes and as many
// bytes. It returns io.EOF when the stream ends before the first byte, and
// io.ErrUnexpectedEOF when it ends later. Memory grows with what arrives, not
// with what the length promises.
func ReadFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n == 0 {
		return nil, nil
	}
	if n <= 64<<10 {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, unexpected(err)
		}
		return b, nil
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, min(n, MaxFrame)); err != nil {
		return nil, unexpected(err)
	}
	if n > MaxFrame {
		return nil, fmt.Errorf("frame of %d bytes: more than the sandbox's bound of %d", n, MaxFrame)
	}
	return b.Bytes(), nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendFrame appends payload as a frame.
func AppendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// Field numbers of RpcCall.
const (
	callSequence    = 1
	callStart       = 33
	callClose       = 35
	callHandleEvent = 36
)

// StartInstance is the RpcCall that starts an instance with its configuration as JSON.
func StartInstance(sequence int64, name string, config []byte) []byte {
	var m []byte
	m = AppendString(m, 1, name)
	m = AppendString(m, 2, string(config))
	return call(callStart, m, sequence)
}

// CloseInstance is the RpcCall that ends an instance.
func CloseInstance(sequence int64, id int32) []byte {
	return call(callClose, AppendInt(nil, 1, int64(id)), sequence)
}

// HandleEvent is the RpcCall that delivers an event to an instance.
func HandleEvent(sequence int64, id int32, event string) []byte {
	return call(callHandleEvent, AppendString(AppendInt(nil, 1, int64(id)), 2, event), sequence)
}

func call(field protowire.Number, m []byte, sequence int64) []byte {
	b := protowire.AppendTag(nil, field, protowire.BytesType)
	b = protowire.AppendBytes(b, m)
	return AppendInt(b, callSequence, sequence)
}

// Return is what Kong looks at in an RpcReturn.
type Return struct {
	Sequence   int64
	InstanceID int32
	HasStatus  bool
}

// ParseReturn decodes an RpcReturn.
func ParseReturn(b []byte) (Return, error) {
	var m kong.RpcReturn
	if err := proto.Unmarshal(b, &m); err != nil {
		return Return{}, fmt.Errorf("decode RpcReturn: %w", err)
	}
	r := Return{Sequence: m.Sequence}
	if s := m.GetInstanceStatus(); s != nil {
		r.InstanceID, r.HasStatus = s.InstanceId, true
	}
	return r, nil
}
