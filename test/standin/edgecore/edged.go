package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// answerLimit is how long edged waits for CloudCore's OK.
const answerLimit = 60 * time.Second

// edged is the module that is a kubelet in the original.
type edged struct {
	settings
	log        *kubeedge.Log
	config     kubeedge.Edged
	cri        string // the runtime's version
	registered atomic.Bool
}

// edgedError ends the program with exit code 1.
type edgedError struct{ err error }

func (e *edgedError) Error() string { return e.err.Error() }

// connect asks the container runtime for its version. What decides is the endpoint, not the type.
func (e *edged) connect(ctx context.Context) error {
	if e.config.RemoteRuntimeEndpoint == kubeedge.Dockershim || "unix://"+e.config.RemoteRuntimeEndpoint == kubeedge.Dockershim {
		return &edgedError{errors.New("init new edged error, failed to get docker version: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")}
	}
	version, err := criVersion(ctx, e.config.RemoteRuntimeEndpoint)
	if err != nil {
		e.log.Error("Version from runtime service failed: %v", err)
		return &edgedError{fmt.Errorf("init new edged error, %w", err)}
	}
	e.cri = version
	return nil
}

// checkCgroups is the container manager's: on version 1 four controllers must be mounted, on version
// 2 nothing is looked at.
func checkCgroups() error {
	dir := kubeedge.Path("/sys/fs/cgroup")
	entries, _ := os.ReadDir(dir) // a test's root has none
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil || len(entries) == 0 {
		return nil
	}
	var missing []string
	for _, name := range []string{"cpu", "cpuacct", "cpuset", "memory"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("Failed to start container manager, err: system validation failed - Following Cgroup subsystem not mounted: %v", missing) //nolint:staticcheck // the original's text
	}
	return nil
}

// serve is the kubelet's API on loopback, as far as somebody asks whether it is there.
func (e *edged) serve(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}`+"\n") // who asked went away
	})
	server := &http.Server{Addr: e.api, Handler: mux, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // the process ends
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		e.log.Error("failed to start the server on %s: %v", e.api, err)
	}
}

// report registers the node, tries again if need be, and then says how it is.
func (e *edged) report(ctx context.Context, l *line) {
	l.repeat(ctx, time.Duration(e.config.NodeStatusUpdateFrequency)*time.Second, func(ctx context.Context) {
		if e.config.RegisterNode && !e.registered.Load() {
			if err := e.register(ctx, l); err != nil {
				e.log.Error("Register node failed: %v", err)
			}
			return
		}
		l.send(ctx, e.route("update"), e.object())
	})
}

func (e *edged) route(operation string) route {
	return route{"edged", "meta", operation, e.config.RegisterNodeNamespace + "/nodestatus/" + e.config.HostnameOverride}
}

func (e *edged) register(ctx context.Context, l *line) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	e.log.Info("Attempting to register node %s", e.config.HostnameOverride)
	m, err := newMessage(e.route("insert"), e.object())
	if err != nil {
		return err
	}
	m.Header.Sync = true
	answer, err := l.ask(ctx, m)
	if err != nil {
		return err
	}
	if string(answer.Content) != `"OK"` || answer.Route.Operation != "response" {
		return fmt.Errorf("register node failed, error: %s", answer.Content)
	}
	e.registered.Store(true)
	e.log.Info("Successfully registered node %s", e.config.HostnameOverride)
	return nil
}

// object is the Node (core/v1).
func (e *edged) object() map[string]any {
	labels := map[string]string{
		"kubernetes.io/hostname": e.config.HostnameOverride, "kubernetes.io/os": "linux", "kubernetes.io/arch": runtime.GOARCH,
		"node-role.kubernetes.io/edge": "", "node-role.kubernetes.io/agent": "",
	}
	maps.Copy(labels, e.config.Labels)
	return map[string]any{
		"kind": "Node", "apiVersion": "v1",
		"metadata": map[string]any{"name": e.config.HostnameOverride, "labels": labels},
		"status": map[string]any{
			"capacity":  map[string]string{"pods": "110"},
			"addresses": []map[string]string{{"type": "InternalIP", "address": e.config.NodeIP}, {"type": "Hostname", "address": e.config.HostnameOverride}},
			"nodeInfo": map[string]string{
				"kubeletVersion": "v1.19.3-kubeedge-v" + kubeedge.Version, "containerRuntimeVersion": "remote://" + e.cri,
				"architecture": runtime.GOARCH, "operatingSystem": "linux",
			},
			"conditions": []map[string]string{{"type": "Ready", "status": "True", "reason": "EdgeReady"}},
		},
	}
}
