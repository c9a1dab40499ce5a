package rp

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
)

// StepUpPolicy is how well, and how lately, a caller must have authenticated
// (RFC 9470).
type StepUpPolicy struct {
	ACR    []string // one of these; none: any
	MaxAge *time.Duration
}

const insufficientAuthentication = "insufficient_user_authentication"

func (s *StepUpPolicy) enabled() bool { return len(s.ACR) > 0 || s.MaxAge != nil }

// maxAge is the max_age argument; "" for none.
func (s *StepUpPolicy) maxAge() string {
	if s.MaxAge == nil {
		return ""
	}
	return strconv.FormatInt(int64(*s.MaxAge/time.Second), 10)
}

// met reports whether the caller has authenticated as the route demands. A
// caller whose tokens say nothing has not.
func (s *StepUpPolicy) met(id *Identity, now time.Time, leeway time.Duration) bool {
	if len(s.ACR) > 0 {
		v, _ := id.Find(claims.Path{"acr"})
		if acr, ok := v.(string); !ok || !slices.Contains(s.ACR, acr) {
			return false
		}
	}
	if s.MaxAge != nil {
		v, ok := id.Find(claims.Path{"auth_time"})
		if !ok {
			return false
		}
		at, err := claims.Time(v)
		if err != nil || claims.Future(at, now, leeway) || claims.Expired(at.Add(*s.MaxAge), now, leeway) {
			return false
		}
	}
	return true
}

// stepUp asks for a better login where the route demands one: browsers with a
// session are sent to it, all others are told by a challenge. Whoever comes
// from a login is not sent again.
func (x *Exchange) stepUp(ctx context.Context, id *Identity) error {
	p := x.Policy
	if !p.StepUp.enabled() || p.StepUp.met(id, p.Now(), p.Leeway) {
		return nil
	}
	if id.Method == MethodSession && p.Methods.Has(MethodAuthorizationCode) && x.mayLogIn() {
		return x.startLogin(ctx, "", 0)
	}
	return &Error{Kind: Unauthorized, Code: insufficientAuthentication, Description: "the caller has not authenticated as this resource demands", Reason: "step_up", Final: true}
}

// mayLogIn reports whether a redirect to a login is an answer to the request.
func (x *Exchange) mayLogIn() bool {
	return !x.Policy.Code.NavigationsOnly || isNavigation(x.Request.Header)
}

// challenge adds what RFC 9470 3 has in a challenge.
func (s *StepUpPolicy) challenge(param func(name, value string)) {
	if len(s.ACR) > 0 {
		param("acr_values", strings.Join(s.ACR, " "))
	}
	if a := s.maxAge(); a != "" {
		param("max_age", a)
	}
}
