package pdkio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// Body returns the request's body of at most limit bytes, rp.ErrBodyTooLarge
// above. Kong gives a small one itself, and of a large one the file that nginx
// has put it into, which is gone when the request ends.
func (x *Exchange) Body(ctx context.Context, limit int64) ([]byte, error) {
	frame, err := x.Call(ctx, "kong.request.get_raw_body", nil)
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	var content, file, fault []byte
	for len(frame) > 0 && err == nil {
		var f wire.Field
		if f, frame, err = wire.CutField(frame); err != nil || f.Num > 3 {
			continue
		}
		content, file, fault = nil, nil, nil // one of them: the last counts
		switch {
		case f.IsBytes(1):
			content = f.Bytes
		case f.IsBytes(2):
			file = f.Bytes
		case f.IsBytes(3):
			fault = f.Bytes
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("decoding the request's body: %w", err)
	case len(fault) > 0:
		return nil, fmt.Errorf("kong can not read the request's body: %q", fault)
	case len(file) > 0:
		return bodyFile(string(file), limit)
	case int64(len(content)) > limit:
		return nil, rp.ErrBodyTooLarge
	}
	return append([]byte{}, content...), nil
}

// bodyFile reads a body that nginx has put into a file. The name comes from
// Kong, but nothing else than a regular file is read.
func bodyFile(name string, limit int64) ([]byte, error) {
	if !filepath.IsAbs(name) {
		return nil, errors.New("kong named a body file without an absolute path")
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the body that nginx has put into a file (the plugin server must run as the user of Kong's workers and see their client_body_temp directory): %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the body that nginx has put into a file: %w", err)
	case !info.Mode().IsRegular():
		return nil, errors.New("the body file that kong named is not a regular file")
	case info.Size() > limit:
		return nil, rp.ErrBodyTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the body that nginx has put into a file: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, rp.ErrBodyTooLarge
	}
	return body, nil
}
