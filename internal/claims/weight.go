package claims

import "encoding/json"

// Weight estimates the memory that o takes, in bytes: rather more than less.
func (o Object) Weight() int { return weigh(map[string]any(o)) }

// weigh goes by the sizes of Go's maps, slices and strings on 64 bits. A small
// object in a claim takes many times the bytes of its text.
func weigh(v any) int {
	switch v := v.(type) {
	case map[string]any:
		n := 48
		switch {
		case len(v) > 8:
			n += 128 + 80*len(v) // tables that have grown
		case len(v) > 0:
			n += 288 // one group of eight
		}
		for key, e := range v {
			n += weighText(len(key)) + weigh(e)
		}
		return n
	case []any:
		n := 24 + 32*len(v) // of which half is spare
		for _, e := range v {
			n += weigh(e)
		}
		return n
	case string:
		return 16 + weighText(len(v))
	case json.Number:
		return 16 + weighText(len(v))
	}
	return 8
}

// weighText is what the characters of a string take.
func weighText(n int) int { return (n + n/8 + 15) &^ 7 }
