package guest

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/guest/initramfs"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/tree"
)

func (j Job) machine(dir string) (vm.Machine, error) {
	files, err := j.files()
	if err != nil {
		return vm.Machine{}, err
	}
	var extra bytes.Buffer
	if err := initramfs.Archive(&extra, files); err != nil {
		return vm.Machine{}, err
	}
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if err := os.WriteFile(kernel, j.Kernel, 0o600); err != nil {
		return vm.Machine{}, fmt.Errorf("writing the guest's kernel: %w", err)
	}
	if err := os.WriteFile(initrd, append(bytes.Clone(j.Initrd), extra.Bytes()...), 0o600); err != nil {
		return vm.Machine{}, fmt.Errorf("writing the guest's initramfs: %w", err)
	}
	console := "ttyAMA0"
	if j.Arch == "amd64" {
		console = "ttyS0"
	}
	return vm.Machine{
		Arch: j.Arch, CPUs: j.CPUs, MemoryMiB: j.MemoryMiB, Accel: j.Accel, NoReboot: true,
		Kernel: kernel, Initrd: initrd,
		Cmdline: "console=" + console + " " + kernelWords,
		Disks:   j.disks(),
	}, nil
}

// disks are told apart by their serial numbers: boards count them in different orders.
func (j Job) disks() []vm.Disk {
	list := []vm.Disk{{Path: j.Scratch, Unsafe: true, Serial: "scratch"}}
	if j.DebsDisk != "" {
		list = append(list, vm.Disk{Path: j.DebsDisk, ReadOnly: true, Serial: "debs"})
	}
	return list
}

// kernelWords: nothing in here needs protection from anybody else. norandmaps is what makes the
// guest quick: TCG keeps translated code by its virtual address, so with randomised addresses every
// exec translates libc anew (measured: 300 fork+exec of true 11.9 s of processor time, 3.7 s without).
const kernelWords = "quiet panic=-1 mitigations=off nokaslr norandmaps random.trust_cpu=on"

// files are what guest-init.sh finds in /job.
func (j Job) files() ([]initramfs.File, error) {
	preinst, err := j.preinstLines()
	if err != nil {
		return nil, err
	}
	debs, err := j.debLines()
	if err != nil {
		return nil, err
	}
	text := func(path, content string) initramfs.File {
		return initramfs.File{Path: path, Mode: 0o644, Data: []byte(content)}
	}
	files := []initramfs.File{
		{Path: "job", Type: tree.Dir, Mode: 0o755},
		text("job/env", j.env()),
		text("job/first", lines(j.First)),
		text("job/noop", lines(j.Noop)),
		text("job/compile", lines(j.Compile)),
		text("job/made", j.madeLines()),
		text("job/preinst", preinst),
		text("job/debs", debs),
	}
	if len(j.Extra) > 0 {
		files = append(files, initramfs.File{Path: "job/steps", Type: tree.Dir, Mode: 0o755})
	}
	for i, s := range j.Extra {
		if strings.ContainsAny(s.Name, "/ \n*?[") || s.Name == "" {
			return nil, fmt.Errorf("describing the guest's job: step name %q has a blank, slash or pattern", s.Name)
		}
		files = append(files, text(fmt.Sprintf("job/steps/%03d-%s", i, s.Name), s.Script+"\n"))
	}
	return files, nil
}

// existing says whether the scratch disk holds a system that was in use.
func (j Job) existing() bool { return j.Repair || len(j.Debs) > 0 }

// env are variables of guest-init.sh. A fresh system takes the packages' configuration files; in
// an existing one the owner's changes stay (dpkg(1), --force-confdef, --force-confold).
func (j Job) env() string {
	conf, repair, plain := "confnew", "", ""
	if j.existing() {
		conf = "confdef,confold"
	}
	if j.Repair {
		repair = "yes"
	}
	if j.Plain {
		plain = "yes"
	}
	return fmt.Sprintf("EPOCH=%d\nCONF=%s\nREPAIR=%s\nPLAIN=%s\nHOST_PYTHON=%s\n", j.Epoch, conf, repair, plain, cmp.Or(j.HostPython, "none"))
}

func (j Job) preinstLines() (string, error) {
	var out strings.Builder
	for _, s := range j.Preinst {
		path := s.Path
		if path == "" {
			path = "var/lib/dpkg/info/" + s.Package + ".preinst"
		}
		path = "/" + strings.TrimPrefix(path, "/")
		if s.Skip {
			path = "-"
		}
		err := jobLine(&out, s.Package, s.Arch, s.Version, path, before(s.Before))
		if err != nil {
			return "", fmt.Errorf("describing the guest's job: preinst of %q: %w", s.Package, err)
		}
	}
	return out.String(), nil
}

func (j Job) debLines() (string, error) {
	var out strings.Builder
	for _, d := range j.Debs {
		if err := jobLine(&out, d.Package, d.File, before(d.Before)); err != nil {
			return "", fmt.Errorf("describing the guest's job: package %q: %w", d.Package, err)
		}
	}
	return out.String(), nil
}

func (j Job) madeLines() string {
	var out []string
	for _, c := range j.Made {
		out = append(out, c.Program+" "+c.Arguments)
	}
	return lines(out)
}

func before(packages []string) string {
	if len(packages) == 0 {
		return "-"
	}
	return strings.Join(packages, ",")
}

// jobLine writes words that the guest's shell reads back as words.
func jobLine(w *strings.Builder, words ...string) error {
	line := strings.Join(words, " ")
	if len(strings.Fields(line)) != len(words) {
		return fmt.Errorf("a field is empty or has blanks: %q", words)
	}
	w.WriteString(line + "\n")
	return nil
}

func lines(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, "\n") + "\n"
}
