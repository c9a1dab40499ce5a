package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/seal"
)

const (
	stateFile    = "state.json"
	lockFile     = "lock"
	stateVersion = 1
	maxState     = 16 << 20             // bytes of the state file
	lookEvery    = time.Second          // between looks at what other processes wrote
	lockWait     = 3 * time.Second      // for the lock of the directory
	lockLook     = 2 * time.Millisecond // between attempts to take it
)

// directory is the state directory. Files are replaced by rename, under a lock
// that holds between processes.
type directory struct {
	path   string
	sealer *seal.Sealer
	now    func() time.Time

	mu      sync.Mutex
	looked  time.Time
	seen    os.FileInfo // of the state file when it was last read; nil for none
	revoked *os.File
	offset  int64 // how far the revocations were read
	tailed  time.Time

	unwritten []byte // lines of revocations that could not be written yet
	torn      bool   // the file ends in the middle of a line
}

func openDirectory(path string, sealer *seal.Sealer, now func() time.Time) (*directory, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("state directory: %w: name one that may be written with -state-dir", err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("state directory %s is not a directory", path)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("state directory %s belongs to another user: remove it, or name another one with -state-dir", path)
	}
	if fi.Mode().Perm() != 0o700 {
		if err := os.Chmod(path, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	return &directory{path: path, sealer: sealer, now: now}, nil
}

func (d *directory) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked != nil {
		_ = d.revoked.Close()
		d.revoked = nil
	}
}

// lock waits for the directory's lock, for lockWait at most.
func (d *directory) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	f, err := os.OpenFile(filepath.Join(d.path, lockFile), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("state directory: lock: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("state directory: lock: %w", ctx.Err())
		case <-time.After(lockLook):
		}
	}
}

// changed reports whether the state file is another one than was read last.
func (d *directory) changed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if now.Sub(d.looked) < lookEvery {
		return false
	}
	d.looked = now
	fi, err := os.Stat(filepath.Join(d.path, stateFile))
	if err != nil {
		return false
	}
	return d.seen == nil || !os.SameFile(fi, d.seen) || fi.Size() != d.seen.Size() || !fi.ModTime().Equal(d.seen.ModTime())
}

// load reads the state file; one that is not there is an empty state.
func (d *directory) load() (state, error) {
	f, err := os.OpenFile(filepath.Join(d.path, stateFile), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Version: stateVersion}, nil
	}
	if err != nil {
		return state{}, &store.Unavailable{Op: "read the state directory", Err: err}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return state{}, &store.Unavailable{Op: "read the state directory", Err: err}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return state{}, &store.Unavailable{Op: "read the state directory", Err: err}
	}
	s, err := d.parse(b)
	if err != nil {
		return state{}, err
	}
	d.mu.Lock()
	d.seen = fi
	d.mu.Unlock()
	return s, nil
}

func (d *directory) parse(b []byte) (state, error) {
	var s state
	if len(b) > maxState {
		return s, d.unreadable(store.ErrTooLarge)
	}
	// The decoder's own error may quote what it read.
	if json.Unmarshal(b, &s) != nil {
		return state{}, d.unreadable(errors.New("it is not JSON"))
	}
	if s.Version != stateVersion {
		return state{}, d.unreadable(fmt.Errorf("its version is %d, this program knows %d", s.Version, stateVersion))
	}
	for i := range s.Secrets {
		k := &s.Secrets[i]
		v, _, err := d.sealer.Open(k.label(), k.Sealed)
		if err == nil && len(v.Reveal()) < store.SecretSize {
			err = seal.ErrBroken
		}
		if err != nil {
			return state{}, &store.Unreadable{What: "a session secret in the state directory", Err: err}
		}
		k.secret = v
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		v, _, err := d.sealer.Open(k.label(), k.Sealed)
		if err != nil {
			return state{}, &store.Unreadable{What: "an own key in the state directory", Err: err}
		}
		k.private = v
	}
	return s, nil
}

func (d *directory) unreadable(err error) error {
	return fmt.Errorf("state file %s: %w: repair or remove it; sessions and keys in it are lost then", filepath.Join(d.path, stateFile), err)
}

// save replaces the state file. The lock is held.
func (d *directory) save(s state) error {
	s.Version = stateVersion
	var err error
	for i := range s.Secrets {
		if s.Secrets[i].Sealed, err = d.sealer.Seal(s.Secrets[i].label(), s.Secrets[i].secret); err != nil {
			return err
		}
	}
	for i := range s.Keys {
		if s.Keys[i].Sealed, err = d.sealer.Seal(s.Keys[i].label(), s.Keys[i].private); err != nil {
			return err
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := d.replace(stateFile, b); err != nil {
		return err
	}
	fi, err := os.Stat(filepath.Join(d.path, stateFile))
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.seen = fi
	d.mu.Unlock()
	return nil
}

// replace writes a file so that it is there whole or not at all, whatever happens.
func (d *directory) replace(name string, b []byte) error {
	f, err := os.CreateTemp(d.path, name+".new-*") // 0600
	if err != nil {
		return err
	}
	tmp := f.Name()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(d.path, name))
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
