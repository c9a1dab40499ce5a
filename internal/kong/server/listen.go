package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// DefaultMode lets only the own user connect: Kong starts the process as the
// user of its workers. Where it runs as another user, in a container of its
// own say, give a mode with a shared group: whoever may connect can ask for
// decisions.
const DefaultMode fs.FileMode = 0o600

// maxSocketPath is the kernel's limit of a socket's path (sockaddr_un).
const maxSocketPath = 107

// freshPrefix begins the names of directories in which sockets are made.
const freshPrefix = ".oidc-"

// Listener is a Unix socket that stands at a path until a successor's does.
type Listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // the socket's own inode
}

// Listen makes a socket and puts it at path, in place of a socket that is
// there: its owner keeps its connections, new ones come here. The socket has
// its mode, 0 for DefaultMode, before anyone can see it.
func Listen(path string, mode fs.FileMode) (_ *Listener, err error) {
	if mode == 0 {
		mode = DefaultMode
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the socket path %s is longer than the %d bytes that a socket's may have: use a shorter Kong prefix", path, maxSocketPath)
	}
	if old, err := os.Lstat(path); err == nil && old.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s exists and is not a socket: remove it, or choose another socket path", path)
	}
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = fmt.Errorf("listening on %s: %w", path, err)
		}
	}()
	removeStale(dir)
	fresh, err := os.MkdirTemp(dir, freshPrefix)
	if err != nil {
		return nil, err
	}
	defer os.Remove(fresh)
	at := filepath.Join(fresh, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	placed := false
	defer func() {
		if !placed {
			l.Close()
			os.Remove(at)
		}
	}()
	if err := os.Chmod(at, mode.Perm()); err != nil {
		return nil, err
	}
	info, err := os.Lstat(at)
	if err != nil {
		return nil, err
	}
	if err := locked(dir, func() error { return os.Rename(at, path) }); err != nil {
		return nil, err
	}
	placed = true
	return &Listener{UnixListener: l, path: path, file: info}, nil
}

// Close stops accepting. The socket stays at its path; see Remove.
func (l *Listener) Close() error { return l.UnixListener.Close() }

// Remove takes the socket away from its path, unless a successor's is there.
func (l *Listener) Remove() error {
	return locked(filepath.Dir(l.path), func() error {
		now, err := os.Lstat(l.path)
		if err != nil || !os.SameFile(now, l.file) {
			return nil
		}
		return os.Remove(l.path)
	})
}

// locked runs f while no other process of ours renames or removes a socket in dir.
func locked(dir string, f func() error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return f()
}

// removeStale removes what a process left behind that died while it made its
// socket. Nobody listens there.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), freshPrefix) {
			continue
		}
		left := filepath.Join(dir, e.Name(), "s")
		c, err := net.Dial("unix", left)
		switch {
		case err == nil:
			c.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			os.Remove(left)
			os.Remove(filepath.Dir(left))
		}
	}
}
