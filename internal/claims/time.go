package claims

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrNotDate says that a value is not a NumericDate (RFC 7519 section 2).
var ErrNotDate = errors.New("not a numeric date")

// maxDate is the end of the year 9999, beyond which a date is a mistake or an
// attempt to wrap a counter around.
const maxDate = 253402300799

// Time reads a numeric date: seconds since 1970 as a number or as a numeric
// string. Fractions are cut off. Values below zero, beyond the year 9999 or of
// another type are ErrNotDate.
func Time(v any) (time.Time, error) {
	n, err := seconds(v)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0), nil
}

func seconds(v any) (int64, error) {
	switch v := v.(type) {
	case json.Number:
		return parseSeconds(string(v))
	case string:
		return parseSeconds(v)
	case float64:
		return floor(v)
	case int64:
		return checkRange(v)
	case int:
		return checkRange(int64(v))
	}
	return 0, ErrNotDate
}

func parseSeconds(s string) (int64, error) {
	if s == "" || len(s) > 64 || strings.Trim(s, "0123456789.eE+-") != "" {
		return 0, ErrNotDate
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return checkRange(n)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, ErrNotDate
	}
	return floor(f)
}

func floor(f float64) (int64, error) {
	// The comparison is false for NaN, so NaN ends here too.
	if !(f >= 0 && f <= maxDate) {
		return 0, ErrNotDate
	}
	return int64(math.Floor(f)), nil
}

func checkRange(n int64) (int64, error) {
	if n < 0 || n > maxDate {
		return 0, ErrNotDate
	}
	return n, nil
}

// The boundaries of time claims belong to validity: at exactly exp plus leeway
// a token is still alive, and at exactly nbf minus leeway it is alive already.

// Expired reports whether exp lies more than leeway before now.
func Expired(exp, now time.Time, leeway time.Duration) bool {
	return now.After(exp.Add(leeway))
}

// Future reports whether t (nbf, iat, auth_time) lies more than leeway after now.
func Future(t, now time.Time, leeway time.Duration) bool {
	return t.After(now.Add(leeway))
}
