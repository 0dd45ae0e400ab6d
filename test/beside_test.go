package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// TestFaultEndsWhatIsBeside lets a component fail while the guest runs, and the guest while a component is made: the bake
// ends with that fault, the other program is gone, and a bake without the fault goes on.
func TestFaultEndsWhatIsBeside(t *testing.T) {
	bin := program(t)
	const running = "echo @@EB boot; echo @@EB package runtime configure; "
	for name, tt := range map[string]struct {
		guest, compile string // each in the directory of the test
		words          []string
	}{
		"a component fails": {running + "echo $$ >pid; read forever <never", "read pid <pid; echo $pid >other; echo it does not compile >&2; exit 2",
			[]string{"it does not compile", "] configure: stopped after", "] components: failed after"}},
		"the guest fails": {running + "read pid <pid; echo $pid >other; echo @@EB fail script runtime postinst 1; echo @@EB clean", "echo $$ >pid; read forever <never",
			[]string{"runtime", "postinst", "] components: stopped after", "] configure: failed after"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, bin)
			w.goTool()
			w.want()
			w.lock()
			w.store = filepath.Join(w.dir, "another store") // lock has made the component, and keeps it
			for _, pipe := range []string{"pid", "never"} {
				if err := syscall.Mkfifo(filepath.Join(w.dir, pipe), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.qemu("cd " + w.dir + "\n" + tt.guest)
			w.goCompiler("cd " + w.dir + "\n" + tt.compile)
			w.ends(1, w.command(w.files(), "bake", "--no-boot"), tt.words...)
			pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, filepath.Join(w.dir, "other")))))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("what ran beside was left behind: signalling it gives %v", err)
			}
			w.qemu(goodGuest)
			w.goCompiler("exec " + oracle.Need(t, "go") + ` "$@"`)
			w.ends(0, w.command(w.files(), "bake", "--no-boot"))
		})
	}
}

// goCompiler puts a stand-in for go beside that for QEMU: go, but for the script, which it runs instead of "go install".
func (w *workshop) goCompiler(script string) {
	w.t.Helper()
	real, err := exec.LookPath("go")
	if err != nil {
		w.t.Fatal(err)
	}
	script = "#!/bin/sh\n[ \"$1\" = install ] || exec " + real + " \"$@\"\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(strings.TrimPrefix(w.env, "PATH="), "go"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
}
