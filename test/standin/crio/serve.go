package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serve answers gRPC on the socket. gRPC is HTTP/2 with a frame of five bytes before each message
// and the outcome in trailers (grpc.io, "gRPC over HTTP2").
func (c config) serve(ctx context.Context) error {
	socket := c.path(c.get("crio.api.listen", "/var/run/crio/crio.sock"))
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(c.answer), ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	context.AfterFunc(ctx, func() { _ = s.Close() }) // the process ends
	ready()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ready tells systemd (sd_notify(3)).
func ready() {
	if conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		_, _ = conn.Write([]byte("READY=1")) // nobody to tell when it fails
		_ = conn.Close()
	}
}

const unimplemented = "12"

func (c config) answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the calls below have no arguments that matter
	var message []byte
	status := "0"
	switch r.URL.Path {
	case "/runtime.v1alpha2.RuntimeService/Version":
		message = versionResponse()
	case "/runtime.v1alpha2.RuntimeService/Status":
		message = c.statusResponse()
	case "/runtime.v1alpha2.ImageService/ListImages":
		message = c.imagesResponse()
	case "/runtime.v1alpha2.RuntimeService/ListPodSandbox", "/runtime.v1alpha2.RuntimeService/ListContainers":
	default:
		status = unimplemented
	}
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Trailer", "Grpc-Status")
	w.WriteHeader(http.StatusOK)
	if status == "0" {
		frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
		_, _ = w.Write(append(frame, message...)) // the client went away
	}
	h.Set("Grpc-Status", status)
}

// field appends a length-delimited field of a protocol buffer.
func field(b []byte, number int, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func versionResponse() []byte {
	var b []byte
	for i, v := range []string{"0.1.0", "cri-o", version, "v1alpha2"} {
		b = field(b, i+1, []byte(v))
	}
	return b
}

func (c config) statusResponse() []byte {
	reason := c.network()
	status := field(nil, 1, condition("RuntimeReady", ""))
	return field(nil, 1, field(status, 1, condition("NetworkReady", reason)))
}

func condition(name, fault string) []byte {
	b := field(nil, 1, []byte(name))
	if fault == "" {
		return append(b, 2<<3, 1)
	}
	b = field(b, 3, []byte("NetworkPluginNotReady"))
	return field(b, 4, []byte("Network plugin returns error: "+fault))
}

// imagesResponse lists the images of the additional stores and of the store itself.
func (c config) imagesResponse() []byte {
	var out []byte
	stores := append(c.stores(), c.get("storage.graphroot", "/var/lib/containers/storage"))
	for _, store := range stores {
		data, err := os.ReadFile(c.path(filepath.Join(store, "overlay-images/images.json")))
		if err != nil {
			continue
		}
		var images []struct {
			ID    string
			Names []string
		}
		if err := json.Unmarshal(data, &images); err != nil {
			fmt.Fprintln(os.Stderr, "crio (stand-in): reading images:", err)
			continue
		}
		for _, i := range images {
			image := field(nil, 1, []byte(i.ID))
			for _, name := range i.Names {
				image = field(image, 2, []byte(name))
			}
			out = field(out, 1, image)
		}
	}
	return out
}
