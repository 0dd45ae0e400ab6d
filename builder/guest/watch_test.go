package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func feed(lines ...string) state {
	var s state
	for _, l := range lines {
		s = s.next(l)
	}
	return s
}

func TestConsoleFailures(t *testing.T) {
	script := []string{
		"@@EB boot", "@@EB step configure",
		"processing: configure: tool:arm64 1.2", "no newline herestatus: base:arm64: installed",
		"progress...processing: configure: tool", "status: tool: half-configured",
		"Setting up tool (1.2) ...", "cannot reach the moon",
		"status: tool : error : installed tool package post-installation script subprocess returned error exit status 7",
		"dpkg: error processing package tool (--configure):", "@@EB fail configure -a", "@@EB step release", "@@EB clean",
	}
	var failed *ScriptError
	if err := feed(script...).verdict(context.Background(), nil); !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if failed.Package != "tool" || failed.Script != "postinst" || failed.ExitCode != 7 || strings.Join(failed.Output, "|") != "Setting up tool (1.2) ...|cannot reach the moon" {
		t.Errorf("got %+v", failed)
	}
	err := feed("@@EB boot", "@@EB package libc6 preinst", "wrong moon", "@@EB fail script libc6 preinst 3", "@@EB step release").verdict(context.Background(), nil)
	want := "configuring package libc6: its preinst ended with exit code 3; its last lines:\n    wrong moon"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestConsoleNamesWhatDpkgDid has faults that no script is to blame for, and one of unpacking.
func TestConsoleNamesWhatDpkgDid(t *testing.T) {
	cases := []struct{ name, want, lines string }{
		{"dependencies", "configuring package tool: its configuration went wrong (dependency problems - leaving unconfigured); it printed nothing",
			"@@EB boot\n@@EB step configure\nstatus: tool : error : dependency problems - leaving unconfigured"},
		{"preinst while unpacking", "configuring package tool: its preinst ended with exit code 5 (new tool package pre-installation script subprocess returned error exit status 5); its last lines:\n    no moon",
			"@@EB step unpack\nprocessing: install: tool\nno moon\nstatus: /run/edgebake/debs/0001-tool.deb : error : new tool package pre-installation script subprocess returned error exit status 5"},
		{"conflict of files", "configuring package tool: its unpacking went wrong (trying to overwrite '/usr/bin/x', which is also in package other 1); it printed nothing",
			"@@EB step unpack\nprocessing: upgrade: tool\nstatus: /run/edgebake/debs/0001-tool.deb : error : trying to overwrite '/usr/bin/x', which is also in package other 1"},
	}
	for _, c := range cases {
		err := feed(strings.Split(c.lines, "\n")...).verdict(context.Background(), nil)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestConsoleCrashes(t *testing.T) {
	cases := []struct {
		name, kind string
		lines      []string
		qemu       error
	}{
		{"panic", "kernel panic", []string{"@@EB package a configure", "[ 1.0] Kernel panic - not syncing: Attempted to kill init!"}, nil},
		{"oops", "kernel oops", []string{"[ 1.0] Internal error: Oops: 96000004 [#1] SMP"}, nil},
		{"QEMU died", "QEMU", []string{"@@EB boot"}, errors.New("signal: killed")},
		{"silent end", "guest", []string{"@@EB boot", "@@EB package a configure"}, nil},
		{"disk not released", "guest", []string{"@@EB boot", "@@EB done"}, nil},
	}
	for _, c := range cases {
		var crash *CrashError
		if err := feed(c.lines...).verdict(context.Background(), c.qemu); !errors.As(err, &crash) || crash.Kind != c.kind {
			t.Errorf("%s: got %v, want a crash of kind %q", c.name, err, c.kind)
		}
	}
	if err := feed("@@EB boot", "@@EB clean", "@@EB done").verdict(context.Background(), nil); err != nil {
		t.Errorf("a good run gave %v", err)
	}
}

func TestOutputKeepsTheLastLines(t *testing.T) {
	s := feed("@@EB package a configure")
	for i := range 100 {
		s = s.next(fmt.Sprint("line ", i))
	}
	if len(s.output) != outputLines || s.output[outputLines-1] != "line 99" {
		t.Errorf("kept %d lines, the last %q", len(s.output), s.output[len(s.output)-1])
	}
}

func TestJobRefusesNamesThatAreNot(t *testing.T) {
	for _, j := range []Job{
		{Preinst: []Script{{Package: "a b", Arch: "arm64", Version: "1"}}},
		{Preinst: []Script{{Package: "a", Arch: "arm64"}}},
		{Extra: []Step{{Name: "../x"}}},
		{Debs: []Deb{{Package: "a", File: "a b.deb"}}},
	} {
		if _, err := j.files(); err == nil {
			t.Errorf("%+v was accepted", j)
		}
	}
}

func FuzzConsole(f *testing.F) {
	f.Add("@@EB fail script\n@@EB package\nprocessing: configure: \n@@EB")
	f.Fuzz(func(_ *testing.T, text string) {
		_ = feed(strings.Split(text, "\n")...).verdict(context.Background(), nil)
	})
}
