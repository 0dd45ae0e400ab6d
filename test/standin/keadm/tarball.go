package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// tarball is a release in a directory, with the file of its checksum beside it.
type tarball struct {
	*shell
	dir, name, base string
}

func (t tarball) checksum() string { return "checksum_" + t.name + ".txt" }

// obtain takes a tarball that is there and right, asks about one that is not right, and downloads a
// missing one. At the end of standard input it asks for ever, as the original does.
func (t tarball) obtain() error {
	if _, err := os.Stat(t.dir + t.name); errors.Is(err, os.ErrNotExist) {
		return t.download()
	} else if err != nil {
		return err
	}
	t.say("Expected or Default KubeEdge version is already downloaded and will checksum for it.")
	if ok, err := t.check(); ok && err == nil {
		t.log.Info("Expected or Default KubeEdge version is already downloaded")
		return nil
	}
	t.say("%s in your path checksum failed and do you want to delete this file and try to download again?", t.name)
	for {
		again, err := t.confirm()
		switch {
		case err != nil:
			t.say("%v", err)
			continue
		case !again:
			t.log.Warning("failed to checksum and will continue to install.")
			return nil
		}
		if err := t.do(fmt.Sprintf("cd %s && rm -f %s", t.dir, t.name)); err != nil {
			return err
		}
		t.log.Info("%s have been deleted and will try to download again", t.name)
		return t.download()
	}
}

// check compares with the local file of the checksum, or with the one that it downloads. The whole
// text counts: a name after the digits makes it wrong.
func (t tarball) check() (bool, error) {
	actual, _, err := bash(fmt.Sprintf("cd %s && sha512sum %s | awk '{split($0,a,\"[ ]\"); print a[1]}'", t.dir, t.name))
	if err != nil {
		return false, err
	}
	want, err := os.ReadFile(t.dir + t.checksum())
	if errors.Is(err, os.ErrNotExist) {
		var text string
		text, _, err = bash(fmt.Sprintf("wget -qO- %s/%s", t.base, t.checksum()))
		want = []byte(text)
	}
	if err != nil {
		return false, err
	}
	if strings.ReplaceAll(string(want), "\n", "") != strings.ReplaceAll(actual, "\n", "") {
		t.say("Failed to verify the checksum of %s, try to download it again ...", t.name)
		return false, nil
	}
	return true, nil
}

// download tries again when the checksum is wrong, and gives up when wget does.
func (t tarball) download() error {
	for range downloadTries {
		if err := t.do(fmt.Sprintf("cd %s && wget -k --no-check-certificate --progress=bar:force %s/%s", t.dir, t.base, t.name)); err != nil {
			return err
		}
		ok, err := t.check()
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if err := os.Remove(t.dir + t.name); err != nil {
			return err
		}
	}
	return fmt.Errorf("failed to download %s", t.name)
}
