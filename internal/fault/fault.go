// Package fault keeps a panic in work that several requests share from ending
// the process: singleflight throws it in a goroutine of its own, where no
// request can recover.
package fault

import (
	"errors"
	"fmt"
	"runtime"
)

// ErrPanicked stands for the result of work that panicked.
var ErrPanicked = errors.New("the work ended in a fault of this program")

// Recover is deferred by the work; it turns a panic into *err, which says no
// more of it than what the runtime said, for other values may hold a request's.
func Recover(err *error) {
	switch p := recover().(type) {
	case nil:
	case runtime.Error:
		*err = fmt.Errorf("%w: %s", ErrPanicked, p)
	default:
		*err = fmt.Errorf("%w: a value of type %T", ErrPanicked, p)
	}
}
