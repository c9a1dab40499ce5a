package plugin

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/rp"
)

func TestPayloadKeepsEverything(t *testing.T) {
	full := rp.StoredTokens{
		Method: rp.MethodAuthorizationCode, Client: 2, AccessToken: "access.token", IDToken: "id.token", RefreshToken: "refresh", TokenType: "DPoP", Scope: "openid a",
		Expiry: time.Unix(1_800_000_000, 0), Introspection: claims.Object{"uid": json.Number("9007199254740993")}, UserInfo: claims.Object{"groups": []any{"a"}},
	}
	for name, want := range map[string]rp.StoredTokens{"full": full, "opaque token alone": {Method: rp.MethodPassword, AccessToken: "x"}, "empty claims": {Introspection: claims.Object{}}} {
		b := pack(want)
		got, err := unpackTokens(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for n := range len(b) - 1 {
			if _, err := unpackTokens(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are read", name, n, len(b))
			}
		}
	}
	if _, err := unpackTokens([]byte(`{"m":"password"}`)); err == nil {
		t.Error("another version is read")
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(pack(rp.StoredTokens{Method: rp.MethodPassword, AccessToken: "a", UserInfo: claims.Object{"x": "y"}}))
	f.Add([]byte{payloadVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := unpackTokens(b)
		if err != nil {
			return
		}
		if again, err := unpackTokens(pack(v)); err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%+v comes back as %+v, %v", v, again, err)
		}
	})
}
