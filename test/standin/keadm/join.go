package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

const (
	fallbackVersion = "1.5.0" // when nobody tells the latest one
	configDir       = "/etc/kubeedge/"
	programDir      = "/usr/local/bin/"
	releases        = "https://github.com/kubeedge/kubeedge/releases/download"
	sources         = "https://raw.githubusercontent.com/kubeedge/kubeedge/release-"
	downloadTries   = 3
)

// join is keadm join, step by step. It does not look at whether edgecore works.
func (s *shell) join(o options) error {
	version := s.chooseVersion(o.version)
	choosePackageManager()
	if err := s.installMQTT(); err != nil {
		return err
	}
	running, err := isRunning("edgecore")
	if err != nil {
		return err
	}
	if running {
		return errors.New("EdgeCore is already running on this node, please run reset to clean up first") //nolint:staticcheck // the original's text
	}
	if err := s.install(o, version); err != nil {
		return err
	}
	if err := s.configure(o); err != nil {
		return err
	}
	return s.start()
}

// chooseVersion panics at what semver can't parse, which a leading v is, or a captive portal's page.
func (s *shell) chooseVersion(version string) string {
	for try := 0; version == "" && try < 5; try++ {
		out, _, _ := bash("curl -k https://kubeedge.io/latestversion")
		version = strings.TrimPrefix(strings.TrimSpace(out), "v")
	}
	if version == "" {
		s.log.Warning("Failed to get the latest KubeEdge release version, will use default version: %s", fallbackVersion)
		version = fallbackVersion
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(version) {
		panic(fmt.Sprintf("semver: Parse(%s): Invalid character(s) found in major number", version))
	}
	return version
}

func choosePackageManager() {
	if _, code, _ := bash("command -v apt || command -v yum || command -v pacman"); code != 0 {
		panic("Failed to detect supported package manager command(apt, yum, pacman), exit")
	}
}

// installMQTT wants a process of mosquitto that runs as a user named like it.
func (s *shell) installMQTT() error {
	out, _, err := bash("ps aux |awk '/mosquitto/ {print $1}' | awk '/mosquit/ {print}'")
	if err != nil {
		return err
	}
	if out != "" {
		s.say("Host has %s already installed and running. Hence skipping the installation steps !!!", strings.TrimSpace(out))
		return nil
	}
	if err := s.do("apt-get install -y --allow-change-held-packages --allow-downgrades mosquitto"); err != nil {
		return err
	}
	s.say("install MQTT service successfully.")
	return nil
}

// install brings the release and the unit, and copies edgecore.
func (s *shell) install(o options, version string) error {
	out, _, err := bash("dpkg --print-architecture")
	if err != nil {
		return err
	}
	arch := strings.TrimSpace(out)
	if arch == "armhf" {
		arch = "arm"
	}
	dir := kubeedge.Path(configDir)
	if o.tarballs != "" {
		dir = kubeedge.Path(strings.TrimSuffix(o.tarballs, "/") + "/")
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(kubeedge.Path(configDir), 0o755)); err != nil {
		return err
	}
	top := "kubeedge-v" + version + "-linux-" + arch
	t := tarball{shell: s, dir: dir, name: top + ".tar.gz", base: releases + "/v" + version}
	if err := t.obtain(); err != nil {
		return err
	}
	if err := s.downloadUnit(version); err != nil {
		return err
	}
	return s.do(fmt.Sprintf("cd %s && tar -C %s -xvzf %s && cp %s%s/edge/edgecore %s", dir, dir, t.name, dir, top, kubeedge.Path(programDir)))
}

// downloadUnit takes edgecore.service as it is when it is there.
func (s *shell) downloadUnit(version string) error {
	dir := kubeedge.Path(configDir)
	if _, err := os.Stat(dir + "edgecore.service"); err == nil {
		s.log.Info("edgecore.service is already downloaded")
		return nil
	}
	branch := version[:strings.LastIndex(version, ".")]
	return s.do(fmt.Sprintf("cd %s && sudo -E wget -t 5 -k --no-check-certificate %s%s/build/tools/edgecore.service", dir, sources, branch))
}

// configure writes the complete edgecore.yaml over any other, token and all, readable for everybody.
func (s *shell) configure(o options) error {
	file := kubeedge.Path(kubeedge.ConfigFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	text, err := s.values(o).YAML()
	if err != nil {
		return err
	}
	c, err := kubeedge.Parse(text)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(kubeedge.Path("/var/lib/kubeedge"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o666)
}

// values are the flags over the defaults. The host of CloudCore is the text before the first colon.
func (s *shell) values(o options) kubeedge.Values {
	ip := kubeedge.LocalIP()
	if ip == "" {
		s.log.Warning("Failed to get the local IP address: there is no default route")
	}
	v := kubeedge.Defaults(ip)
	host, _, _ := strings.Cut(o.cloudCore, ":")
	v.WebSocketServer, v.Token, v.Labels = o.cloudCore, o.token, parseLabels(o.labels)
	v.HTTPServer = "https://" + host + ":" + or(o.certPort, kubeedge.DefaultCertPort)
	v.TunnelServer = host + ":" + kubeedge.DefaultTunnelPort
	v.NodeName, v.RuntimeType = or(o.nodeName, v.NodeName), or(o.runtimeType, v.RuntimeType)
	v.Endpoint, v.CgroupDriver = or(o.endpoint, v.Endpoint), or(o.cgroups, v.CgroupDriver)
	return v
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// start links the unit, which fails when there is one, and starts it.
func (s *shell) start() error {
	if err := os.MkdirAll(kubeedge.Path("/var/log/kubeedge/"), 0o755); err != nil {
		return err
	}
	if !hasSystemd() {
		return s.do(kubeedge.Path(programDir) + "edgecore > " + kubeedge.Path(configDir) + "kubeedge/edge/edgecore.log 2>&1 &")
	}
	line := fmt.Sprintf("sudo ln %sedgecore.service %s && sudo systemctl daemon-reload && sudo systemctl enable edgecore && sudo systemctl start edgecore",
		kubeedge.Path(configDir), kubeedge.Path("/etc/systemd/system/edgecore.service"))
	if err := s.do(line); err != nil {
		return err
	}
	s.say("KubeEdge edgecore is running, For logs visit: journalctl -u edgecore.service -b")
	return nil
}
