package rp

import "strings"

// isNavigation reports whether a request asks for a page that a person is to
// see, so that a redirect to a login makes sense (unauthorized_for_scripts).
// Browsers say so themselves (Fetch Metadata); of others a request counts that
// names text/html and is no XMLHttpRequest, WebSocket or gRPC call.
func isNavigation(h Header) bool {
	if isUpgrade(h) || isGRPC(h) || strings.EqualFold(h.Get("x-requested-with"), "XMLHttpRequest") {
		return false
	}
	if m := h.Get("sec-fetch-mode"); m != "" {
		return m == "navigate"
	}
	n := 0
	for _, line := range h["accept"] {
		if len(line) > maxAccept {
			return false
		}
		for member := range strings.SplitSeq(line, ",") {
			if n++; n > maxAcceptTypes {
				return false
			}
			if t, q, ok := acceptMember(member); ok && q > 0 && (t == "text/html" || t == "application/xhtml+xml") {
				return true
			}
		}
	}
	return false
}
