package wire

// Exit is the call that ends a request at the gateway. Kong never replies to it.
const Exit = "kong.response.exit"

// setter reports whether Kong's reply to a PDK method is an empty frame
// whenever the call succeeded, so that it can be foretold. The list is the
// methods of Kong's pluginsocket.proto that return google.protobuf.Empty, and
// set_ctx, which is declared to return a string and has none.
func setter(method []byte) bool {
	switch string(method) {
	case "kong.client.authenticate",
		"kong.ctx.shared.set",
		"kong.log.alert",
		"kong.log.crit",
		"kong.log.err",
		"kong.log.warn",
		"kong.log.notice",
		"kong.log.info",
		"kong.log.debug",
		"kong.log.set_serialize_value",
		"kong.nginx.set_ctx",
		"kong.response.set_status",
		"kong.response.set_header",
		"kong.response.add_header",
		"kong.response.clear_header",
		"kong.response.set_headers",
		"kong.service.set_target",
		"kong.service.request.set_scheme",
		"kong.service.request.set_path",
		"kong.service.request.set_raw_query",
		"kong.service.request.set_method",
		"kong.service.request.set_query",
		"kong.service.request.set_header",
		"kong.service.request.add_header",
		"kong.service.request.clear_header",
		"kong.service.request.set_headers",
		"kong.service.request.set_raw_body":
		return true
	}
	return false
}
