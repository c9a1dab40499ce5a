package protocol

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	kong "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestFrames(t *testing.T) {
	b := AppendFrame(AppendFrame(nil, []byte("abc")), nil)
	if want := "\x03\x00\x00\x00abc\x00\x00\x00\x00"; string(b) != want {
		t.Fatalf("%q", b)
	}
	r := bytes.NewReader(b)
	for _, want := range []string{"abc", ""} {
		if got, err := ReadFrame(r); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if _, err := ReadFrame(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, cut := range []string{"\x03", "\x03\x00\x00\x00ab", "\xff\xff\xff\xffab", "\x00\x00\x02\x00ab"} {
		if _, err := ReadFrame(strings.NewReader(cut)); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", cut, err)
		}
	}
}

// What Lua makes of values, from transcript 45 and the transcripts 70.
func TestValuesAsLuaHasThem(t *testing.T) {
	for name, c := range map[string]struct {
		in   any
		want any
	}{
		"text": {"a", "a"}, "empty": {"", ""}, "number": {1.5, 1.5}, "true": {true, true}, "false": {false, nil}, "null": {nil, NullText},
		"list":         {[]any{"a", "b"}, []any{"a", "b"}},
		"empty list":   {[]any{}, []any{}},
		"false at end": {[]any{nil, "x", false}, []any{NullText, "x"}},
		"map":          {map[string]any{"a": "b", "f": false}, map[string]any{"a": "b"}},
	} {
		v, err := structpb.NewValue(c.in)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := proto.Marshal(v)
		if got, err := DecodeValue(b); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, %v, want %#v", name, got, err, c.want)
		}
	}
	if got := EncodeValue(nil); !bytes.Equal(got, []byte{8, 1}) {
		t.Errorf("nil is %x", got)
	}
	if got := EncodeValue([]any{}); !bytes.Equal(got, []byte{0x2a, 0}) {
		t.Errorf("an empty list is %x", got)
	}
}

func TestBytesThatAreNotUTF8(t *testing.T) {
	if s, err := DecodeString(String("a\xff")); err != nil || s != "a\xff" {
		t.Errorf("%q %v", s, err)
	}
	if _, err := DecodeString([]byte{0x0a, 0xff}); !errors.Is(err, ErrArguments) {
		t.Errorf("cut off: %v", err)
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	var v any = "x"
	for range 200 {
		v = []any{v}
	}
	if _, err := DecodeValue(EncodeValue(v)); !errors.Is(err, ErrArguments) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := proto.Marshal(&kong.ExitArgs{Status: 401, Body: []byte("x"), Headers: &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStringValue("b")}}})
	f.Add(b)
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = DecodeExit(b)
		_, _, _ = DecodeKV(b)
		_, _, _ = DecodeAuthenticate(b)
		_, _ = DecodeList(b)
		_, _ = DecodeInt(b)
		if v, err := DecodeValue(b); err == nil && v != nil {
			if _, err := DecodeValue(EncodeValue(v)); err != nil {
				t.Errorf("%#v does not come back: %v", v, err)
			}
		}
	})
}
