package upstream

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxMessage bounds a gRPC message.
const maxMessage = 4 << 20

// GRPC is a service that speaks gRPC over HTTP/2 in clear text. Every method
// answers each message with one that holds the call as a Request in JSON, at
// once, and ends with grpc-status 0; a method Fail ends with status 9.
type GRPC struct {
	ln     net.Listener
	server *http.Server
}

// StartGRPC listens on addr; "" is a free port of 127.0.0.1.
func StartGRPC(addr string) (*GRPC, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the gRPC service: %w", err)
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := &GRPC{ln, &http.Server{Protocols: &p, Handler: http.HandlerFunc(answerCall), ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = s.server.Serve(ln) }()
	return s, nil
}

// Addr is the address that the service listens on.
func (s *GRPC) Addr() string { return s.ln.Addr().String() }

// Close ends the service.
func (s *GRPC) Close() error { return s.server.Close() }

func answerCall(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	if strings.HasSuffix(r.URL.Path, "/Fail") {
		w.Header().Set("Grpc-Status", "9")
		w.Header().Set("Grpc-Message", "failed as asked")
		return
	}
	out := http.NewResponseController(w)
	for {
		message, err := ReadMessage(r.Body)
		if err != nil {
			break
		}
		saw := &Request{Method: r.Method, Target: r.RequestURI, Path: r.URL.Path, Query: r.URL.RawQuery, Headers: []Header{{"host", r.Host}}, Body: string(message)}
		for name, values := range r.Header {
			for _, v := range values {
				saw.Headers = append(saw.Headers, Header{strings.ToLower(name), v})
			}
		}
		text, err := json.Marshal(saw)
		if err != nil {
			break
		}
		if _, err := w.Write(AppendMessage(nil, text)); err != nil {
			return
		}
		_ = out.Flush()
	}
	w.Header().Set("Grpc-Status", "0")
}

// AppendMessage appends a gRPC message that is not compressed.
func AppendMessage(b, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, 0), uint32(len(message))), message...)
}

// ReadMessage reads a gRPC message. The end of the stream is io.EOF.
func ReadMessage(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || n > maxMessage {
		return nil, fmt.Errorf("a gRPC message of %d bytes, compressed %d", n, head[0])
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}
