package plugin

import (
	"encoding/json"
	"testing"

	"kong-openid-connect/internal/claims"
)

// Two people whose numbers are one as float64 must not become one consumer.
func TestSharedAnswersKeepLargeNumbers(t *testing.T) {
	b, err := json.Marshal(claims.Object{"uid": json.Number("9007199254740993")})
	if err != nil {
		t.Fatal(err)
	}
	var c claims.Object
	if err := shared(b, &c); err != nil || c["uid"] != json.Number("9007199254740993") {
		t.Errorf("%v %v", c, err)
	}
}
