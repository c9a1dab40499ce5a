package server

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// DefaultMode lets only the own user connect: Kong starts the process as the
// user of its workers. Where it runs as another user, in a container of its
// own say, give a mode with a shared group: whoever may connect can ask for
// decisions.
const DefaultMode fs.FileMode = 0o600

// maxSocketPath is the kernel's limit of a socket's path (sockaddr_un).
const maxSocketPath = 107

// Sockets are made in directories of this name, under this name.
const (
	freshPrefix = ".oidc-"
	freshName   = "s"
	freshLength = len("/" + freshPrefix + "4294967295/" + freshName)
)

// Listener is a Unix socket that stands at a path until a successor's does.
type Listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // the socket's own inode
}

// Listen makes a socket and puts it at path, in place of a socket that is
// there: its owner keeps its connections, new ones come here. The socket has
// its mode, 0 for DefaultMode, before anyone can see it.
func Listen(path string, mode fs.FileMode) (*Listener, error) {
	if mode == 0 {
		mode = DefaultMode
	}
	if len(path) > maxSocketPath || len(filepath.Dir(path))+freshLength > maxSocketPath {
		return nil, fmt.Errorf("the socket path %s is longer than the %d bytes that a socket's may have: use a shorter Kong prefix", path, maxSocketPath)
	}
	if old, err := os.Lstat(path); err == nil && old.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s exists and is not a socket: remove it, or choose another socket path", path)
	}
	dir := filepath.Dir(path)
	var l *Listener
	err := locked(dir, func() (err error) {
		removeStale(dir)
		l, err = listen(dir, path, mode)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return l, nil
}

// listen makes the socket in a directory that only this process can enter,
// and moves it to its path when it is ready.
func listen(dir, path string, mode fs.FileMode) (_ *Listener, err error) {
	fresh, err := os.MkdirTemp(dir, freshPrefix)
	if err != nil {
		return nil, err
	}
	defer os.Remove(fresh)
	at := filepath.Join(fresh, freshName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() {
		if err != nil {
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
	if err := os.Rename(at, path); err != nil {
		return nil, err
	}
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

// removeStale removes what processes left behind that died while they made
// their sockets. It is called with the lock, so nobody is making one.
func removeStale(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, freshPrefix+"*"))
	for _, d := range left {
		os.Remove(filepath.Join(d, freshName))
		os.Remove(d)
	}
}
