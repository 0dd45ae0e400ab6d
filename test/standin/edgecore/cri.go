package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// criLimit is edged's for a call at its start.
const criLimit = 10 * time.Second

// unavailable is gRPC's word for a server that is not there.
type unavailable struct{ err error }

func (u unavailable) Error() string {
	return fmt.Sprintf("rpc error: code = Unavailable desc = connection error: desc = %q", "transport: Error while dialing "+u.err.Error())
}

// criVersion calls Version of the CRI's v1alpha2, which is all that edgecore 1.8 knows, on a socket.
// A call of gRPC is a POST over HTTP/2 with a frame of five bytes before the message.
func criVersion(ctx context.Context, endpoint string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, criLimit)
	defer cancel()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", kubeedge.Path(strings.TrimPrefix(endpoint, "unix://")))
	}}
	defer transport.CloseIdleConnections()
	const method = "/runtime.v1alpha2.RuntimeService/Version"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+method, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	r, err := transport.RoundTrip(req)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) {
			err = dial
		}
		return "", unavailable{err}
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", unavailable{err}
	}
	switch status := firstOf(r.Trailer.Get("Grpc-Status"), r.Header.Get("Grpc-Status")); status {
	case "0":
		return runtimeVersion(body)
	case "12":
		return "", errors.New("rpc error: code = Unimplemented desc = unknown service runtime.v1alpha2.RuntimeService")
	default:
		return "", fmt.Errorf("rpc error: code = %s desc = %s", status, r.Trailer.Get("Grpc-Message"))
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// runtimeVersion finds field 3 of a VersionResponse, whose fields are strings.
func runtimeVersion(frame []byte) (string, error) {
	if len(frame) < 5 {
		return "", fmt.Errorf("the answer has %d bytes", len(frame))
	}
	for b := frame[5:]; len(b) > 1; {
		number := b[0] >> 3
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			break
		}
		value := b[1+n : 1+n+int(size)]
		if number == 3 {
			return string(value), nil
		}
		b = b[1+n+int(size):]
	}
	return "", errors.New("the answer has no runtime_version")
}
