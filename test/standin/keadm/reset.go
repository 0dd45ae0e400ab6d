package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// reset is keadm reset on an edge node: it stops edgecore and empties the directories, golden copies
// in /etc/kubeedge included.
func (s *shell) reset(force bool) error {
	running, err := isRunning("edgecore")
	if err != nil {
		return err
	}
	if !running {
		s.say("None of KubeEdge components are running in this host, exit")
		return nil
	}
	if err := s.mayReset(force); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	if err := s.do("crictl -r unix:///var/run/crio/crio.sock pods -q"); err != nil {
		s.log.Warning("Failed to remove containers: %v", err)
	}
	for _, dir := range []string{"/etc/kubeedge", "/var/log/kubeedge", "/var/lib/kubeedge", "/var/lib/edged", "/var/lib/dockershim", "/var/run/kubernetes", "/var/lib/cni"} {
		if err := empty(kubeedge.Path(dir)); err != nil {
			s.log.Warning("Failed to clean the directory %s: %v", dir, err)
		}
	}
	return nil
}

func (s *shell) mayReset(force bool) error {
	if force {
		return nil
	}
	s.say("[reset] WARNING: Changes made to this host by 'keadm init' or 'keadm join' will be reverted.")
	s.say("[reset] Are you sure you want to proceed? ")
	yes, err := s.confirm()
	if err != nil || !yes {
		return errors.Join(errors.New("aborted reset operation"), err)
	}
	return nil
}

// stop ends the unit when it is enabled, else the process.
func (s *shell) stop() error {
	if out, _, _ := bash("systemctl list-unit-files | grep enabled | grep edgecore "); out == "" {
		return s.do("pkill edgecore")
	}
	return s.do("sudo systemctl stop edgecore.service && sudo systemctl disable edgecore.service && sudo rm " +
		kubeedge.Path("/etc/systemd/system/edgecore.service") + " && sudo systemctl daemon-reload")
}

// empty removes what is in a directory, and leaves the directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
