package admin

import "net/http"

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
