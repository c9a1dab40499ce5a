//go:build unix && !linux

package testproviders

import "syscall"

// Elsewhere a killed test binary leaves its children to their closed standard
// input, at which the Node provider ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
