package boot_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/boot"
	"github.com/edgebake/edgebake/builder/tree"
)

// with lays changed entries over t.
func with(t testing.TB, tr tree.Tree, changed []tree.Entry) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{})
	for _, e := range append(tr.Entries(), changed...) {
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func texts(entries []tree.Entry) map[string]string {
	out := map[string]string{}
	for _, e := range entries {
		if e.Type == tree.File {
			out[e.Path] = string(e.Content.Inline)
		}
	}
	return out
}

const (
	memoryFlags = "cgroup_enable=memory cgroup_memory=1"
	usercfgText = "# Place \"config.txt\" changes (dtparam, dtoverlay, disable_overscan, etc.) in\n# this file.\n"
)

func TestEditRaspberryPi(t *testing.T) {
	early := strings.Replace(focalConfig, "cmdline=cmdline.txt", "cmdline=nobtcmd.txt", 1)
	perBoard := strings.Replace(focalConfig, "[all]\nenable_uart=1\ncmdline=cmdline.txt\n", "[pi3]\ncmdline=three.txt\n[all]\n", 1)
	for name, tc := range map[string]struct {
		config  string
		extra   map[string]string // over the files of the card; empty text: not there
		cmdline []string
		tweaks  []string
		want    map[string]string
		err     string
	}{
		"20.04":                {config: early, extra: map[string]string{"cmdline.txt": focalOldCmdline + "\n"}, want: map[string]string{"cmdline.txt": focalOldCmdline + " " + memoryFlags + "\n"}},
		"20.04.3":              {config: focalConfig, extra: map[string]string{"cmdline.txt": focalOldCmdline + "\n"}, want: map[string]string{"cmdline.txt": focalOldCmdline + " " + memoryFlags + "\n"}},
		"20.04.5":              {config: focalConfig, want: map[string]string{"cmdline.txt": focalCmdline + " " + memoryFlags + "\n"}},
		"no newline":           {config: focalConfig, extra: map[string]string{"cmdline.txt": "quiet"}, want: map[string]string{"cmdline.txt": "quiet " + memoryFlags}},
		"carriage return":      {config: focalConfig, extra: map[string]string{"cmdline.txt": "quiet \r\n"}, want: map[string]string{"cmdline.txt": "quiet " + memoryFlags + " \r\n"}},
		"more lines":           {config: focalConfig, extra: map[string]string{"cmdline.txt": "quiet\n\n# cgroup_enable=memory\n"}, want: map[string]string{"cmdline.txt": "quiet " + memoryFlags + "\n\n# cgroup_enable=memory\n"}},
		"blank":                {config: focalConfig, extra: map[string]string{"cmdline.txt": "\n"}, want: map[string]string{"cmdline.txt": memoryFlags + "\n"}},
		"there":                {config: focalConfig, extra: map[string]string{"cmdline.txt": "cgroup_memory=1 a cgroup_enable=memory b\n"}, want: map[string]string{}},
		"one there":            {config: focalConfig, extra: map[string]string{"cmdline.txt": "cgroup_memory=1 a\n"}, want: map[string]string{"cmdline.txt": "cgroup_memory=1 a cgroup_enable=memory\n"}},
		"taken back":           {config: focalConfig, extra: map[string]string{"cmdline.txt": memoryFlags + " cgroup_disable=memory\n"}, want: map[string]string{"cmdline.txt": memoryFlags + " cgroup_disable=memory " + memoryFlags + "\n"}},
		"taken back in a list": {config: focalConfig, extra: map[string]string{"cmdline.txt": "cgroup_enable=memory cgroup_disable=pids,memory\n"}, cmdline: []string{"cgroup_enable=memory"}, want: map[string]string{"cmdline.txt": "cgroup_enable=memory cgroup_disable=pids,memory cgroup_enable=memory\n"}},
		"other value later":    {config: focalConfig, extra: map[string]string{"cmdline.txt": "swapaccount=1 swapaccount=0\n"}, cmdline: []string{"swapaccount=1", "rw"}, want: map[string]string{"cmdline.txt": "swapaccount=1 swapaccount=0 swapaccount=1 rw\n"}},
		"many consoles":        {config: focalConfig, extra: map[string]string{"cmdline.txt": "console=tty1 console=ttyS0\n"}, cmdline: []string{"console=tty1"}, want: map[string]string{}},
		"wanted twice":         {config: focalConfig, extra: map[string]string{"cmdline.txt": "x\n"}, cmdline: []string{"a=1", "a=1", "b=1", "b=2"}, want: map[string]string{"cmdline.txt": "x a=1 b=2\n"}},
		"quotes":               {config: focalConfig, extra: map[string]string{"cmdline.txt": "dyndbg=\"file a +p\" \n"}, cmdline: []string{"file"}, want: map[string]string{"cmdline.txt": "dyndbg=\"file a +p\" file \n"}},
		"a file per board":     {config: perBoard, extra: map[string]string{"three.txt": "three", "cmdline.txt": "four\n", "syscfg.txt": ""}, want: map[string]string{"three.txt": "three " + memoryFlags, "cmdline.txt": "four " + memoryFlags + "\n"}},
		"include of includes":  {config: strings.Replace(focalConfig, "cmdline=cmdline.txt", "", 1), extra: map[string]string{"syscfg.txt": "include more.txt", "more.txt": "cmdline=CMD.TXT", "cmd.txt": "x", "cmdline.txt": ""}, want: map[string]string{"cmd.txt": "x " + memoryFlags}},
		"no cmdline file":      {config: focalConfig, extra: map[string]string{"cmdline.txt": ""}, err: "finding the kernel command line of a Raspberry Pi 3: config.txt leads to a file that the FAT does not have: looking for boot file cmdline.txt"},
		"no kernel":            {config: "kernel=absent.img\n", err: "finding what a Raspberry Pi 3 boots from this FAT: looking for boot file absent.img"},
		"no config":            {extra: map[string]string{"config.txt": ""}, err: "config.txt"},
		"two words":            {config: focalConfig, cmdline: []string{"a b"}, err: "a parameter is one word"},
		"open quote":           {config: focalConfig, cmdline: []string{`a="b`}, err: "quote"},
		"two lines":            {config: focalConfig, tweaks: []string{"a=1\nb=2"}, err: "must be one line"},

		"tweaks":                     {config: focalConfig, tweaks: []string{"gpu_mem=16", "dtparam=watchdog=on"}, cmdline: []string{"quiet"}, want: map[string]string{"usercfg.txt": usercfgText + "gpu_mem=16\ndtparam=watchdog=on\n"}},
		"tweaks that are there":      {config: focalConfig, tweaks: []string{"arm_64bit=1", "dtparam=audio=on"}, cmdline: []string{"quiet"}, want: map[string]string{}},
		"tweaks for one model":       {config: focalConfig, tweaks: []string{"arm_boost=1"}, cmdline: []string{"quiet"}, want: map[string]string{"usercfg.txt": usercfgText + "arm_boost=1\n"}},
		"tweaks that another undoes": {config: focalConfig, extra: map[string]string{"usercfg.txt": "gpu_mem=16\ngpu_mem=64\n"}, tweaks: []string{"gpu_mem=16"}, cmdline: []string{"quiet"}, want: map[string]string{"usercfg.txt": "gpu_mem=16\ngpu_mem=64\ngpu_mem=16\n"}},
		"tweaks after a section":     {config: focalConfig, extra: map[string]string{"usercfg.txt": "[pi4]\r\ngpu_mem=64"}, tweaks: []string{"gpu_mem=16"}, cmdline: []string{"quiet"}, want: map[string]string{"usercfg.txt": "[pi4]\r\ngpu_mem=64\r\n[all]\r\ngpu_mem=16\r\n"}},
		"no usercfg.txt yet":         {config: focalConfig, extra: map[string]string{"usercfg.txt": ""}, tweaks: []string{"gpu_mem=16"}, cmdline: []string{"quiet"}, want: map[string]string{"usercfg.txt": "gpu_mem=16\n"}},
		"no include":                 {config: "kernel=vmlinuz\n[pi4]\narm_boost=1", tweaks: []string{"gpu_mem=16"}, cmdline: []string{"quiet"}, want: map[string]string{"config.txt": "kernel=vmlinuz\n[pi4]\narm_boost=1\n[all]\ngpu_mem=16\n"}},
		"include for one model":      {config: "kernel=vmlinuz\n[pi4]\ninclude usercfg.txt\n", tweaks: []string{"gpu_mem=16"}, cmdline: []string{"quiet"}, want: map[string]string{"config.txt": "kernel=vmlinuz\n[pi4]\ninclude usercfg.txt\n[all]\ngpu_mem=16\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := focal(tc.config, focalCmdline)
			files["usercfg.txt"] = usercfgText
			maps.Copy(files, tc.extra)
			maps.DeleteFunc(files, func(_, text string) bool { return text == "" })
			want := boot.Edit{Cmdline: tc.cmdline, ConfigTxt: tc.tweaks, Time: tree.Time{Sec: 1700000000}}
			if tc.cmdline == nil {
				want.Cmdline = strings.Fields(memoryFlags)
			}
			fat := makeTree(t, files)
			changed, err := boot.EditRaspberryPi(fat, tree.NewReader(nil), want)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range changed {
				if e.Mode != 0o600 || e.MTime.Sec != 1700000000 {
					t.Errorf("%s has mode %o and time %d", e.Path, e.Mode, e.MTime.Sec)
				}
			}
			if d := cmp.Diff(tc.want, texts(changed)); d != "" {
				t.Error(d)
			}
			again, err := boot.EditRaspberryPi(with(t, fat, changed), tree.NewReader(nil), want)
			if len(again) != 0 || err != nil {
				t.Errorf("the second time changes %v, %v", texts(again), err)
			}
		})
	}
}

func TestEditRaspberryPiIsWhatTheFirmwareReads(t *testing.T) {
	fat := makeTree(t, focal(focalConfig, focalCmdline))
	changed, err := boot.EditRaspberryPi(fat, tree.NewReader(nil), boot.Edit{Cmdline: strings.Fields(memoryFlags)})
	if err != nil {
		t.Fatal(err)
	}
	for _, board := range []boot.Board{boot.RaspberryPi3, boot.RaspberryPi4} {
		eff, err := boot.Evaluate(with(t, fat, changed), tree.NewReader(nil), board)
		if err != nil || !strings.HasSuffix(eff.Cmdline, " quiet splash "+memoryFlags) {
			t.Errorf("%s: %q, %v", board, eff.Cmdline, err)
		}
	}
	var missing *boot.MissingFileError
	if _, err = boot.EditRaspberryPi(makeTree(t, map[string]string{"vmlinuz": "k"}), tree.NewReader(nil), boot.Edit{}); !errors.As(err, &missing) {
		t.Errorf("without config.txt: %v", err)
	}
}

func FuzzEditRaspberryPi(f *testing.F) {
	f.Add(focalConfig, focalCmdline, usercfgText)
	f.Add("include usercfg.txt", "\r\n\n", "[pi4]\nkernel=vmlinuz\ncmdline=config.txt")
	f.Fuzz(func(t *testing.T, config, cmdline, user string) {
		fat := makeTree(t, map[string]string{"config.txt": config, "cmdline.txt": cmdline, "usercfg.txt": user, "vmlinuz": "k", "kernel8.img": "k"})
		want := boot.Edit{Cmdline: strings.Fields(memoryFlags), ConfigTxt: []string{"gpu_mem=16"}}
		changed, err := boot.EditRaspberryPi(fat, tree.NewReader(nil), want)
		if err != nil {
			return
		}
		for _, e := range changed {
			old, ok := fat.Lookup(e.Path)
			if ok && len(e.Content.Inline) <= len(old.Content.Inline) {
				t.Errorf("%s became %q", e.Path, e.Content.Inline)
			}
		}
	})
}
