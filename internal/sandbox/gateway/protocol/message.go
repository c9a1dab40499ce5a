package protocol

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendString appends a string or bytes field; an empty one is left out.
func AppendString(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// AppendStrings appends a repeated string field.
func AppendStrings(b []byte, n protowire.Number, l []string) []byte {
	for _, s := range l {
		b = protowire.AppendTag(b, n, protowire.BytesType)
		b = protowire.AppendString(b, s)
	}
	return b
}

// AppendInt appends a varint field; 0 is left out.
func AppendInt(b []byte, n protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

// AppendBool appends a bool field; unlike other zero values Kong writes false.
func AppendBool(b []byte, n protowire.Number, v bool) []byte {
	b = protowire.AppendTag(b, n, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeBool(v))
}

// String, Int, Bool and Number are the messages of one field v.
func String(s string) []byte { return AppendString(nil, 1, s) }

// Int is the message Int.
func Int(v int64) []byte { return AppendInt(nil, 1, v) }

// Bool is the message Bool.
func Bool(v bool) []byte { return AppendBool(nil, 1, v) }

// Number is the message Number.
func Number(v float64) []byte {
	b := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}

// RawBodyContent is a RawBodyResult with the body in it; an empty one is written too.
func RawBodyContent(body []byte) []byte {
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// RawBodyFile is a RawBodyResult that names the file of a spilled body.
func RawBodyFile(path string) []byte { return AppendString(nil, 2, path) }

// DecodeString decodes the messages String and ByteString.
func DecodeString(b []byte) (string, error) {
	var s string
	err := Fields(b, func(n protowire.Number, t protowire.Type, _ uint64, raw []byte) error {
		if n == 1 && t != protowire.BytesType {
			return fmt.Errorf("%w: type mismatch for field 'v'", ErrArguments)
		}
		if n == 1 {
			s = string(raw)
		}
		return nil
	})
	return s, err
}

// DecodeInt decodes the messages Int and Bool.
func DecodeInt(b []byte) (int64, error) {
	var v int64
	err := Fields(b, func(n protowire.Number, t protowire.Type, u uint64, _ []byte) error {
		if n == 1 && t != protowire.VarintType {
			return fmt.Errorf("%w: type mismatch for field 'v'", ErrArguments)
		}
		if n == 1 {
			v = int64(int32(u))
		}
		return nil
	})
	return v, err
}

// DecodeKV decodes the message KV; an absent value is nil.
func DecodeKV(b []byte) (key string, value any, err error) {
	err = Fields(b, func(n protowire.Number, t protowire.Type, _ uint64, raw []byte) error {
		if t != protowire.BytesType {
			return fmt.Errorf("%w: type mismatch for field %d of KV", ErrArguments, n)
		}
		var err error
		switch n {
		case 1:
			key = string(raw)
		case 2:
			value, err = DecodeValue(raw)
		}
		return err
	})
	return key, value, err
}

// Exit is the message ExitArgs.
type Exit struct {
	Status  int32
	Body    []byte
	Headers map[string]any
}

// DecodeExit decodes ExitArgs.
func DecodeExit(b []byte) (Exit, error) {
	var e Exit
	err := Fields(b, func(n protowire.Number, _ protowire.Type, u uint64, raw []byte) error {
		var err error
		switch n {
		case 1:
			e.Status = int32(u)
		case 2:
			e.Body = raw
		case 3:
			e.Headers, err = DecodeStruct(raw)
		}
		return err
	})
	return e, err
}

// Consumer is the message Consumer.
type Consumer struct {
	ID, Username, CustomID string
	CreatedAt              int64
	Tags                   []string
}

// Encode encodes a consumer; nil is the empty message.
func (c *Consumer) Encode() []byte {
	if c == nil {
		return nil
	}
	var b []byte
	b = AppendString(b, 1, c.ID)
	b = AppendInt(b, 2, c.CreatedAt)
	b = AppendString(b, 3, c.Username)
	b = AppendString(b, 4, c.CustomID)
	return AppendStrings(b, 5, c.Tags)
}

func decodeConsumer(b []byte) (*Consumer, error) {
	c := &Consumer{}
	err := Fields(b, func(n protowire.Number, _ protowire.Type, u uint64, raw []byte) error {
		switch n {
		case 1:
			c.ID = string(raw)
		case 2:
			c.CreatedAt = int64(u)
		case 3:
			c.Username = string(raw)
		case 4:
			c.CustomID = string(raw)
		case 5:
			c.Tags = append(c.Tags, string(raw))
		}
		return nil
	})
	return c, err
}

// Credential is the message AuthenticatedCredential.
type Credential struct {
	ID, ConsumerID string
	// Decoded says that it came in a message, which makes an absent ConsumerID
	// an empty text to Lua, not nil.
	Decoded bool
}

// Encode encodes a credential; nil is the empty message.
func (c *Credential) Encode() []byte {
	if c == nil {
		return nil
	}
	return AppendString(AppendString(nil, 1, c.ID), 2, c.ConsumerID)
}

// DecodeAuthenticate decodes AuthenticateArgs; what is absent is nil.
func DecodeAuthenticate(b []byte) (consumer *Consumer, credential *Credential, err error) {
	err = Fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, raw []byte) error {
		var err error
		switch n {
		case 1:
			consumer, err = decodeConsumer(raw)
		case 2:
			credential = &Credential{Decoded: true}
			err = Fields(raw, func(n protowire.Number, _ protowire.Type, _ uint64, raw []byte) error {
				switch n {
				case 1:
					credential.ID = string(raw)
				case 2:
					credential.ConsumerID = string(raw)
				}
				return nil
			})
		}
		return err
	})
	return consumer, credential, err
}

// DecodeConsumerSpec decodes ConsumerSpec.
func DecodeConsumerSpec(b []byte) (id string, byUsername bool, err error) {
	err = Fields(b, func(n protowire.Number, _ protowire.Type, u uint64, raw []byte) error {
		switch n {
		case 1:
			id = string(raw)
		case 2:
			byUsername = u != 0
		}
		return nil
	})
	return id, byUsername, err
}

// DecodeTarget decodes Target.
func DecodeTarget(b []byte) (host string, port int, err error) {
	err = Fields(b, func(n protowire.Number, _ protowire.Type, u uint64, raw []byte) error {
		switch n {
		case 1:
			host = string(raw)
		case 2:
			port = int(int32(u))
		}
		return nil
	})
	return host, port, err
}
