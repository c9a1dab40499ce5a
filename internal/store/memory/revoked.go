package memory

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/revoked"
)

const revokedFile = "revoked"

// revocation is one line of the file of revocations, which is only appended to
// while processes run and written anew when one starts alone.
type revocation struct {
	Key   string `json:"k"`
	From  int64  `json:"f"` // Unix microseconds
	Until int64  `json:"u"`
}

// Revoke implements store.Revocations.
func (s *Store) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if err := store.CheckName(key); err != nil {
		return err
	}
	if err := store.CheckSpan(from, until); err != nil {
		return err
	}
	if _, err := s.revoked.Add(key, revoked.Span{From: from, Latest: from, Until: until}); err != nil {
		return err
	}
	if s.dir == nil || !until.After(s.now()) {
		return nil
	}
	b, err := json.Marshal(revocation{key, from.UnixMicro(), until.UnixMicro()})
	if err != nil {
		return err
	}
	if err := s.dir.appendRevoked(append(b, '\n')); err != nil {
		return &store.Unavailable{Op: "revoke", Err: err}
	}
	return nil
}

// Listed returns how many revocations this node holds in memory.
func (s *Store) Listed() int { return s.revoked.Len() }

// Revoked implements store.Revocations.
func (s *Store) Revoked(_ context.Context, keys ...string) (bool, error) {
	if err := s.tail(); err != nil {
		return false, err
	}
	return s.revoked.Revoked(keys...), nil
}

// Ended implements store.Revocations.
func (s *Store) Ended(_ context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	if err := s.tail(); err != nil {
		return false, err
	}
	return s.revoked.Ended(began, subject, keys...), nil
}

// tail reads what another process appended, looking at most once a second.
func (s *Store) tail() error {
	if s.dir == nil {
		return nil
	}
	if err := s.dir.readRevoked(s.revoked, false); err != nil {
		return &store.Unavailable{Op: "read revocations", Err: err}
	}
	return nil
}

func (d *directory) appendRevoked(line []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked == nil {
		return os.ErrClosed
	}
	if len(d.unwritten)+len(line) > maxUnwritten {
		return store.ErrFull
	}
	d.unwritten = append(d.unwritten, line...)
	return d.writeRevoked()
}

// maxUnwritten bounds what waits for a disk that takes nothing, in bytes.
const maxUnwritten = 4 << 20

// writeRevoked appends the lines that wait. What fails goes on waiting: a line
// that is there twice says the same.
func (d *directory) writeRevoked() error {
	lines := d.unwritten
	if len(lines) == 0 {
		return nil
	}
	if d.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	// One write of whole lines with O_APPEND: lines of two processes do not mix.
	n, err := d.revoked.Write(lines)
	if err != nil {
		d.torn = d.torn || n > 0
		return err
	}
	d.unwritten, d.torn = nil, false
	return d.revoked.Sync()
}

// readRevoked reads the file of revocations from where it stopped. The first
// time it opens the file.
func (d *directory) readRevoked(l *revoked.List, first bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if first {
		unlock, err := d.lock(context.Background())
		if err != nil {
			return err
		}
		defer unlock()
		f, err := os.OpenFile(filepath.Join(d.path, revokedFile), os.O_CREATE|os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		d.revoked = f
		if err := d.compact(); err != nil {
			return err
		}
	} else {
		now := d.now()
		if now.Sub(d.tailed) < lookEvery {
			return nil
		}
		d.tailed = now
		if d.revoked == nil {
			return nil // closed: the process is on its way out
		}
		_ = d.writeRevoked() // its caller was told that it failed at first
		if fi, err := d.revoked.Stat(); err != nil || fi.Size() == d.offset {
			return err
		}
	}
	r := bufio.NewReaderSize(io.NewSectionReader(d.revoked, d.offset, 1<<40), 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			d.torn = d.torn || first && len(line) > 0
			return nil // the rest of a line that is being written comes next time
		}
		if err != nil {
			return err
		}
		d.offset += int64(len(line))
		if v, ok := parseRevocation(line); ok {
			at := time.UnixMicro(v.From)
			if err := l.Learn(v.Key, revoked.Span{From: at, Latest: at, Until: time.UnixMicro(v.Until)}); err != nil {
				return err
			}
		}
	}
}

func parseRevocation(line []byte) (revocation, bool) {
	var v revocation
	if json.Unmarshal(line, &v) != nil || v.Key == "" || v.Until <= v.From {
		return v, false
	}
	return v, true
}

// compactAbove is the size from which on a starting process drops what has expired.
const compactAbove = 1 << 20

// compact replaces the file by one without expired lines. It is skipped while
// another process has the file, which holds a shared lock on it; no process
// opens the file meanwhile, for the directory is locked.
func (d *directory) compact() error {
	fd := int(d.revoked.Fd())
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return syscall.Flock(fd, syscall.LOCK_SH)
		}
		return err
	}
	defer func() { _ = syscall.Flock(fd, syscall.LOCK_SH) }()
	fi, err := d.revoked.Stat()
	if err != nil || fi.Size() < compactAbove {
		return err
	}
	b, err := io.ReadAll(io.NewSectionReader(d.revoked, 0, fi.Size()))
	if err != nil {
		return err
	}
	now := d.now().UnixMicro()
	var keep []byte
	for line := range bytes.Lines(b) {
		if v, ok := parseRevocation(line); ok && v.Until > now {
			keep = append(keep, line...)
		}
	}
	if err := d.replace(revokedFile, keep); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.path, revokedFile), os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_ = d.revoked.Close()
	d.revoked = f
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
}
