package kubeedge

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestParsesItsDefaults(t *testing.T) {
	v := Defaults("192.0.2.5")
	v.Labels = map[string]string{"site": "hall-3", "a/b": "true"}
	v.Token = `x.y"z`
	text, err := v.YAML()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	hub, edged := c.Modules.EdgeHub, c.Modules.Edged
	if hub.Token != v.Token || hub.HTTPServer != "https://192.0.2.5:10002" || hub.Heartbeat != 15 || edged.Labels["a/b"] != "true" || edged.RemoteRuntimeEndpoint != Dockershim {
		t.Errorf("read %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestMissingKeysGetDefaults(t *testing.T) {
	c, err := Parse([]byte("modules: {edgeHub: {websocket: {server: 'cloud:10000'}}, edged: {enable: false}, unknown: {x: 1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if h := c.Modules.EdgeHub; !h.Enable || !h.WebSocket.Enable || h.WebSocket.Server != "cloud:10000" || h.Heartbeat != 15 || h.CAFile == "" || c.Modules.Edged.Enable || c.Database.DataSource == "" {
		t.Errorf("read %+v", c)
	}
}

func TestValidate(t *testing.T) {
	for name, text := range map[string]string{
		"hostnameOverride": "edged: {hostnameOverride: Edge_1}",
		"cgroupDriver":     "edged: {cgroupDriver: none}",
		"quic":             "edgeHub: {quic: {enable: true}}",
		"mqttMode":         "eventBus: {mqttMode: 3}",
	} {
		c, err := Parse([]byte("modules: {" + text + "}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNodeNames(t *testing.T) {
	for name, want := range map[string]bool{"edge-1": true, "a.b": true, "Edge": false, "a_b": false, "-a": false, "": false, strings.Repeat("a", 254): false} {
		if IsNodeName(name) != want {
			t.Errorf("%q is a node's name: %v", name, !want)
		}
	}
}

func TestPath(t *testing.T) {
	t.Setenv(Root, "/somewhere")
	if got := Path("/etc/kubeedge/"); got != "/somewhere/etc/kubeedge/" {
		t.Error(got)
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	NewLog(&b).Warning("disk %d%% full", 90)
	if !regexp.MustCompile(`^W\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ kubeedge_test\.go:\d+\] disk 90% full\n$`).Match(b.Bytes()) {
		t.Errorf("the line is %q", b.String())
	}
}
