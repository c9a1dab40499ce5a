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
	if json.Unmarshal(b, &doc) != nil {
		message(w, http.StatusInternalServerError, "An unexpected error occurred")
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
		message(w, http.StatusInternalServerError, "An unexpected error occurred")
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

func (h *Handler) health(w http.ResponseWriter, r *http.Request, _ target) {
	state := h.o.Health(r.Context())
	out := struct {
		Status string            `json:"status"`
		Parts  map[string]string `json:"parts"`
	}{"ok", map[string]string{}}
	status := http.StatusOK
	for name, err := range state.Parts {
		h.noteFault(name, err)
		out.Parts[name] = "ok"
		if err != nil {
			out.Parts[name], out.Status = "unavailable", "degraded"
		}
	}
	if !state.Ready {
		status, out.Status = http.StatusServiceUnavailable, "not ready"
	}
	writeJSON(w, status, out)
}

// noteFault logs why a part fails: once, however often probes ask.
func (h *Handler) noteFault(part string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	h.mu.Lock()
	before := h.faults[part]
	h.faults[part] = text
	h.mu.Unlock()
	switch {
	case text == before:
	case err != nil:
		h.o.Log.Error("openid-connect: not in good health", "part", part, "error", err)
	default:
		h.o.Log.Info("openid-connect: in good health again", "part", part)
	}
}
