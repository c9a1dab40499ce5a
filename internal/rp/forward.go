package rp

import "context"

// maxForwarded bounds a value that is passed on to the provider.
const maxForwarded = 8 << 10

func (x *Exchange) forwardToken(ctx context.Context) Forward {
	f := &x.Policy.Forward
	return Forward{Args: x.fromRequest(ctx, f.TokenArgs, true), Headers: x.fromHeaders(f.TokenHeaders)}
}

func (x *Exchange) forwardIntrospection(ctx context.Context) Forward {
	f := &x.Policy.Forward
	args := append(x.fromRequest(ctx, f.IntrospectionArgs, false), x.fromHeaders(f.IntrospectionArgsFromHeaders)...)
	return Forward{Args: args, Headers: x.fromHeaders(f.IntrospectionHeaders)}
}

func (x *Exchange) forwardUserInfo(ctx context.Context) Forward {
	f := &x.Policy.Forward
	return Forward{Args: x.fromRequest(ctx, f.UserInfoArgs, false), Headers: x.fromHeaders(f.UserInfoHeaders)}
}

// fromRequest copies arguments of the client's request: query, else body, else
// header where that counts. What is not there is left out, and so is what
// cannot be read.
func (x *Exchange) fromRequest(ctx context.Context, names []string, header bool) []Field {
	var out []Field
	for _, n := range names {
		v, _, err := x.Request.arg(ctx, Places{Query: true, Body: true}, n)
		if err == nil && v == "" && header {
			_, v = fold(x.Request.Header, Canonical(n))
		}
		if err == nil && v != "" && len(v) <= maxForwarded {
			out = append(out, Field{n, v})
		}
	}
	return out
}

func (x *Exchange) fromHeaders(names []string) []Field {
	var out []Field
	for _, n := range names {
		if _, v := fold(x.Request.Header, Canonical(n)); v != "" && len(v) <= maxForwarded {
			out = append(out, Field{n, v})
		}
	}
	return out
}
