package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"os"
	"path/filepath"
)

const (
	bodyBuffer = 8 << 10  // client_body_buffer_size
	maxBody    = 64 << 20 // the sandbox's own bound; Kong has none by default
	// A body that is known to need little more than the buffer gets a larger one.
	bodyBufferStretched = bodyBuffer + bodyBuffer/4
)

var errBodyTooLarge = errors.New("request body too large")

// body is a request's body. It is read as a whole, into memory or a file.
type body struct {
	src      *headReader
	plain    io.Reader // instead of src where the protocol itself says where a body ends
	length   int64     // as requestHead's
	preread  int
	expect   func() error // sends "100 Continue"
	newFile  func() (string, error)
	complete bool
	err      error
	data     []byte
	file     string
}

// present says whether the request declares a body.
func (b *body) present() bool { return b.length > 0 || b.length == -1 }

// read takes the body in. It may be called again and then does nothing.
func (b *body) read() error {
	if b.complete || b.err != nil {
		return b.err
	}
	b.err = b.take()
	b.complete = true
	return b.err
}

func (b *body) take() error {
	if !b.present() {
		return nil
	}
	if b.length > maxBody {
		return errBodyTooLarge
	}
	if b.expect != nil && b.preread == 0 {
		if err := b.expect(); err != nil {
			return err
		}
	}
	if b.plain != nil {
		data, err := io.ReadAll(io.LimitReader(b.plain, maxBody+1))
		switch {
		case err != nil:
			return fmt.Errorf("read the request body: %w", err)
		case len(data) > maxBody:
			return errBodyTooLarge
		case b.length > 0 && len(data) < bodyBufferStretched, len(data) < bodyBuffer:
			b.data = data
			return nil
		}
		return b.spill(data)
	}
	if b.length > 0 {
		data := make([]byte, b.length)
		if _, err := io.ReadFull(b.src, data); err != nil {
			return fmt.Errorf("read the request body: %w", err)
		}
		rest := b.length - int64(min(b.length, int64(b.preread)))
		if rest < bodyBufferStretched {
			b.data = data
			return nil
		}
		return b.spill(data)
	}
	// The chunk reader wants single bytes and must not take more than the body.
	one := bufio.NewReaderSize(singleReader{b.src}, 16)
	data, err := io.ReadAll(io.LimitReader(httputil.NewChunkedReader(one), maxBody+1))
	if err != nil {
		return fmt.Errorf("read the chunked request body: %w", err)
	}
	if len(data) > maxBody {
		return errBodyTooLarge
	}
	// The trailer: lines up to an empty one.
	for {
		line, err := one.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the end of the chunked request body: %w", err)
		}
		if line == "\r\n" || line == "\n" {
			break
		}
	}
	if len(data) < bodyBuffer {
		b.data = data
		return nil
	}
	return b.spill(data)
}

func (b *body) spill(data []byte) error {
	path, err := b.newFile()
	if err != nil {
		return err
	}
	b.file = path
	return os.WriteFile(path, data, 0o600)
}

// bytes is the whole body, wherever it is.
func (b *body) bytes() ([]byte, error) {
	if err := b.read(); err != nil {
		return nil, err
	}
	if b.file != "" {
		return os.ReadFile(b.file)
	}
	return b.data, nil
}

func (b *body) cleanup() {
	if b.file != "" {
		os.Remove(b.file)
	}
}

// singleReader hands out a byte at a time, so that a buffer above it never holds more than was asked for.
type singleReader struct{ r io.Reader }

func (s singleReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return s.r.Read(p[:1])
}

func (g *Gateway) newBodyFile() (string, error) {
	path := filepath.Join(g.opts.Prefix, "client_body_temp", fmt.Sprintf("%010d", g.bodyFiles.Add(1)))
	g.logf("warn", "a client request body is buffered to a temporary file %s", path)
	return path, nil
}
