package verify_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/verify"
	"github.com/edgebake/edgebake/cloudinit"
)

// A machine that can write its seed gets the token as a file, which it removes; another one has it in
// user-data.
func TestNodeSeedBringsTheTokenOnce(t *testing.T) {
	token := strings.Repeat("a1", 32) + ".eyJhIjoxfQ.eyJiIjoxfQ.c2ln"
	n := cloudinit.Node{Name: "edge-1", CloudCore: verify.HostAddress + ":10000", Token: token}
	for ownFAT, want := range map[bool]string{true: "edgebake-token", false: "user-data"} {
		files, err := verify.NodeSeed(n, ownFAT)
		if err != nil {
			t.Fatal(err)
		}
		var with []string
		for name, content := range files {
			if bytes.Contains(content, []byte(token)) {
				with = append(with, name)
			}
		}
		if !slices.Equal(with, []string{want}) || files["user-data"] == nil || files["meta-data"] == nil {
			t.Errorf("own FAT %v: the token is in %v, want %s; there are %d files", ownFAT, with, want, len(files))
		}
	}
}

func TestChecksOfJoiningNeedACloudCore(t *testing.T) {
	if plain := verify.PlainChecks(); len(plain)+len(verify.JoinChecks()) != len(verify.AllChecks()) || slices.Contains(plain, verify.CheckJoined) {
		t.Errorf("plain checks: %v", plain)
	}
	_, err := verify.Check(context.Background(), piImage(t, piFiles()), verify.CheckOptions{
		Options: verify.Options{WorkDir: t.TempDir()}, Checks: verify.JoinChecks(),
	})
	if err == nil || !strings.Contains(err.Error(), "need a CloudCore") {
		t.Errorf("got %v", err)
	}
}
