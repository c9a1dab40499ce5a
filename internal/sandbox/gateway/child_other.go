//go:build !linux

package gateway

import "syscall"

// childAttr asks for nothing special on this system.
func childAttr() *syscall.SysProcAttr { return nil }
