package gateway

import "syscall"

// childAttr puts the plugin server in a group of its own, and has the kernel
// end it when this process dies without having done so.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
