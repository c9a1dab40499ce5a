package admin

import (
	"encoding/json"
	"net/http"
)

func (h *Handler) getKeys(w http.ResponseWriter, r *http.Request, _ target) {
	b, err := h.o.Keys.Public(r.Context())
	if err != nil {
		h.fail(w, r, "read own keys", err)
		return
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		h.fail(w, r, "read own keys", err)
		return
	}
	shown := []json.RawMessage{}
	for _, k := range doc.Keys {
		if k = withoutPrivate(k); k != nil {
			shown = append(shown, k)
		}
	}
	doc.Keys = shown
	if b, err = json.Marshal(doc); err != nil {
		h.fail(w, r, "show own keys", err)
		return
	}
	write(w, http.StatusOK, typeJWKS, b)
}

func (h *Handler) rotateKeys(w http.ResponseWriter, r *http.Request, _ target) {
	if err := h.o.Keys.Rotate(r.Context()); err != nil {
		h.fail(w, r, "rotate own keys", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) getKey(w http.ResponseWriter, r *http.Request, t target) {
	b, err := h.o.Keys.PublicKey(r.Context(), t.ref)
	if err != nil {
		h.fail(w, r, "read own key", err)
		return
	}
	if b = withoutPrivate(b); b == nil {
		notFound(w)
		return
	}
	write(w, http.StatusOK, typeJSON, b)
}

func (h *Handler) deleteKey(w http.ResponseWriter, r *http.Request, t target) {
	if err := h.o.Keys.DeleteKey(r.Context(), t.ref); err != nil {
		h.fail(w, r, "delete own key", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
