package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// system is a root directory with what CRI-O needs at least, and files over it.
func system(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"etc/crio/crio.conf":                     "[crio.runtime]\nconmon = \"/usr/libexec/podman/conmon\"\n[crio.network]\nplugin_dirs = [\n\t\"/opt/cni/bin/\",\n]\n",
		"etc/crio/crio.conf.d/01-crio-runc.conf": "[crio.runtime.runtimes.runc]\nruntime_path = \"/usr/lib/cri-o-runc/sbin/runc\"\n",
		"usr/libexec/podman/conmon":              "", "usr/lib/cri-o-runc/sbin/runc": "", "opt/cni/bin/bridge": "",
		"etc/cni/net.d/100-crio-bridge.conf": `{"cniVersion":"0.3.1","name":"crio","type":"bridge"}`,
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if err := writeFile(filepath.Join(root, name), text); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// call asks the socket below root as curl and edgecore do.
func call(t *testing.T, root, method string) (message, status string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := http.Client{Transport: &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(root, "var/run/crio/crio.sock"))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/runtime.v1alpha2."+method, strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), answer.Trailer.Get("Grpc-Status")
}

// start runs the program and waits until systemd would know that it is ready.
func start(t *testing.T, root string) {
	t.Helper()
	notify := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", notify)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, root); _ = l.Close() }() // wakes the reader below when it never gets ready
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if _, err := l.Read(make([]byte, 64)); err != nil {
		t.Fatal("it ended before it was ready")
	}
}

func TestAnswers(t *testing.T) {
	root := system(t, map[string]string{
		"etc/containers/storage.conf":        "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [ \"/store\" ]\n",
		"store/overlay-images/images.lock":   "",
		"store/overlay-layers/layers.lock":   "",
		"store/overlay-images/images.json":   `[{"id":"abc","names":["k8s.gcr.io/pause:3.2"]}]`,
		"etc/cni/net.d/200-loopback.conf":    `{"cniVersion":"0.3.1","type":"loopback"}`,
		"etc/crio/crio.conf.d/99-local.conf": "# nothing\n",
	})
	start(t, root)
	for method, want := range map[string]string{
		"RuntimeService/Version":  "cri-o\x1a\x061.20.0\"\x08v1alpha2",
		"RuntimeService/Status":   "\x0a\x0cNetworkReady\x10\x01",
		"ImageService/ListImages": "k8s.gcr.io/pause:3.2",
	} {
		if message, status := call(t, root, method); status != "0" || !strings.Contains(message, want) {
			t.Errorf("%s answers %q, status %q; want %q", method, message, status, want)
		}
	}
	if _, status := call(t, root, "RuntimeService/RunPodSandbox"); status != unimplemented {
		t.Errorf("running a pod has status %q", status)
	}
}

// TestAnswersCurl asks as the check in a booted image does.
func TestAnswersCurl(t *testing.T) {
	root := system(t, nil)
	start(t, root)
	cmd := exec.CommandContext(t.Context(), oracle.Need(t, "curl"), "--silent", "--show-error", "--http2-prior-knowledge",
		"--unix-socket", filepath.Join(root, "var/run/crio/crio.sock"), "-H", "content-type: application/grpc", "-H", "te: trailers",
		"--data-binary", "@-", "http://localhost/runtime.v1alpha2.RuntimeService/Version")
	cmd.Stdin = bytes.NewReader(make([]byte, 5)) // an empty message
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("cri-o")) {
		t.Errorf("curl: %v: %q", err, out)
	}
}

func TestSaysThatThereIsNoNetwork(t *testing.T) {
	root := system(t, map[string]string{"etc/cni/net.d/10-other.conflist": `{"cniVersion":"0.3.1","plugins":[{"type":"flannel"}]}`})
	start(t, root)
	if message, _ := call(t, root, "RuntimeService/Status"); !strings.Contains(message, "plugin flannel") {
		t.Errorf("status is %q", message)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, text, kernel, want string }{
		"metacopy on bionic's kernel": {"etc/containers/storage.conf", "[storage.options.overlay]\nmountopt = \"nodev,metacopy=on\"\n", "4.15.0-212-generic", "metacopy"},
		"store without locks":         {"etc/containers/storage.conf", "[storage.options]\nadditionalimagestores = [\"/none\"]\n", "5.4.0", "images.lock"},
		"runtime without table":       {"etc/crio/crio.conf.d/02.conf", "[crio.runtime]\ndefault_runtime = \"crun\"\n", "5.4.0", "no runtime entry"},
		"no runtime":                  {"etc/crio/crio.conf.d/02.conf", "[crio.runtime.runtimes.runc]\nruntime_path = \"/usr/bin/none\"\n", "5.4.0", "runtime runc"},
		"no conmon":                   {"etc/crio/crio.conf.d/02.conf", "[crio.runtime]\nconmon = \"/usr/bin/none\"\n", "5.4.0", "conmon"},
		"conmon in a slice":           {"etc/crio/crio.conf.d/02.conf", "[crio.runtime]\ncgroup_manager = \"cgroupfs\"\n", "5.4.0", "conmon_cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := load(system(t, map[string]string{c.file: c.text}))
			if err != nil {
				t.Fatal(err)
			}
			if err := conf.check(c.kernel); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one about %s", err, c.want)
			}
		})
	}
}

func TestMetacopyIsFineOnFocal(t *testing.T) {
	conf, err := load(system(t, map[string]string{"etc/containers/storage.conf": "[storage.options.overlay]\nmountopt = \"nodev,metacopy=on\"\n"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := conf.check("5.4.0-1069-raspi"); err != nil {
		t.Error(err)
	}
}
