package admin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"
)

// Kong's page sizes.
const (
	defaultPage = 100
	maxPage     = 1000
)

type shownObject struct {
	ID            string            `json:"id"`
	Issuer        string            `json:"issuer"`
	CreatedAt     int64             `json:"created_at"`
	Configuration json.RawMessage   `json:"configuration"`
	Keys          []json.RawMessage `json:"keys"`
}

func show(o Object) shownObject {
	s := shownObject{o.ID, o.Issuer, o.CreatedAt.Unix(), o.Configuration, []json.RawMessage{}}
	if len(s.Configuration) == 0 {
		s.Configuration = json.RawMessage("{}")
	}
	for _, k := range o.Keys {
		if k = withoutPrivate(k); k != nil {
			s.Keys = append(s.Keys, k)
		}
	}
	return s
}

// private are the members of a JWK that are not public (RFC 7518 section 6).
var private = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k"}

// withoutPrivate is the last guard: whatever a provider published or a store
// held, private members are not shown. A symmetric key is not shown at all.
func withoutPrivate(jwk json.RawMessage) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(jwk, &all) != nil || string(all["kty"]) == `"oct"` {
		return nil
	}
	found := false
	for _, name := range private {
		if _, ok := all[name]; ok {
			delete(all, name)
			found = true
		}
	}
	if !found {
		return jwk
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

// page is a part of a collection. Next is the path of the one after it, null for
// the last.
type page[T any] struct {
	Data   []T     `json:"data"`
	Offset string  `json:"offset,omitempty"`
	Next   *string `json:"next"`
}

// writePage answers with size of all, which has one more where there is a next
// page. path is that of the collection with the arguments that name it.
func writePage[S, T any](w http.ResponseWriter, q url.Values, path string, all []S, size int, id func(S) string, show func(S) T) {
	p := page[T]{Data: []T{}}
	for _, one := range all[:min(len(all), size)] {
		p.Data = append(p.Data, show(one))
	}
	if len(all) > size {
		p.Offset = encodeOffset(id(all[size-1]))
		next := path + "offset=" + url.QueryEscape(p.Offset)
		if q.Has("size") {
			next += "&size=" + strconv.Itoa(size)
		}
		p.Next = &next
	}
	writeJSON(w, http.StatusOK, p)
}

func (h *Handler) listObjects(w http.ResponseWriter, r *http.Request, t target) {
	q := r.URL.Query()
	size, fault := pageSize(q)
	if fault != nil {
		writeJSON(w, http.StatusBadRequest, fault)
		return
	}
	after, fault := pageOffset(q, isUUID)
	if fault != nil {
		writeJSON(w, http.StatusBadRequest, fault)
		return
	}
	all, err := h.o.Discovery.List(r.Context(), after, size+1) // one more tells whether there is a next page
	if err != nil {
		h.fail(w, r, "list discovery objects", err)
		return
	}
	writePage(w, q, t.base+"?", all, size, func(o Object) string { return o.ID }, show)
}

func pageSize(q url.Values) (int, *fault) {
	if !q.Has("size") {
		return defaultPage, nil
	}
	f, err := strconv.ParseFloat(q.Get("size"), 64)
	if err != nil {
		return 0, &fault{codeSize, "invalid size", "size must be a number"}
	}
	if f != float64(int(f)) || f < 1 || f > maxPage {
		return 0, &fault{codeSize, "invalid size", fmt.Sprintf("size must be an integer between 1 and %d", maxPage)}
	}
	return int(f), nil
}

// An offset is the id of the last object of the page before. Whoever calls
// must not rely on that.
func encodeOffset(id string) string {
	return base64.StdEncoding.EncodeToString([]byte(`["` + id + `"]`))
}

func pageOffset(q url.Values, isID func(string) bool) (string, *fault) {
	text := q.Get("offset")
	if text == "" {
		return "", nil
	}
	invalid := func(why string) (string, *fault) {
		if len(text) > 100 {
			text = text[:100]
		}
		return "", &fault{codeOffset, "invalid offset", "'" + text + "' is not a valid offset: " + why}
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) > 256 {
		return invalid("bad base64 encoding")
	}
	var ids []string
	if json.Unmarshal(b, &ids) != nil || len(ids) != 1 || !isID(ids[0]) {
		return invalid("bad array")
	}
	return ids[0], nil
}

func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // it takes other forms too
}

func (h *Handler) clearObjects(w http.ResponseWriter, r *http.Request, _ target) {
	if err := h.o.Discovery.Clear(r.Context()); err != nil {
		h.fail(w, r, "delete discovery objects", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) getObject(w http.ResponseWriter, r *http.Request, t target) {
	o, err := h.o.Discovery.Get(r.Context(), t.ref)
	if err != nil {
		h.fail(w, r, "read discovery object", err)
		return
	}
	writeJSON(w, http.StatusOK, show(o))
}

func (h *Handler) deleteObject(w http.ResponseWriter, r *http.Request, t target) {
	if err := h.o.Discovery.Delete(r.Context(), t.ref); err != nil {
		h.fail(w, r, "delete discovery object", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
