package lint_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

const (
	piKernel = "5.4.0-1052-raspi"
	pcKernel = "4.15.0-212-generic"
	absent   = "\x00absent" // as the content of a file: it is taken out
)

// files are the contents of an image. A path with a colon has a mode or a link: "bin/sh:0755",
// "lib:->usr/lib", "tmp:/1777" is a directory.
type files map[string]string

func elf(machine byte) string {
	return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + string([]byte{machine, 0}) + strings.Repeat("\x00", 44)
}

var (
	arm64ELF = elf(183)
	amd64ELF = elf(62)
)

func arm64Image(version string) string {
	return strings.Repeat("\x00", 56) + "ARM\x64" + strings.Repeat("k", 300<<10) + "Linux version %s " + "Linux version " + version + " (buildd@host) (gcc) #1 SMP\n\x00"
}

func bzImage(version string) string {
	b := make([]byte, 0x400)
	copy(b[0x202:], "HdrS")
	b[0x20e], b[0x20f] = 0x00, 0x01 // 0x100: at 0x300
	copy(b[0x300:], version+" (buildd@host) #1 SMP\x00")
	return string(b)
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // into memory
	_ = w.Close()
	return b.String()
}

// cpio is an archive of the "newc" format with empty padding as real ones have it.
func cpio(names ...string) string {
	var b strings.Builder
	for _, n := range append(names, "TRAILER!!!") {
		name, data, _ := strings.Cut(n, "=")
		fmt.Fprintf(&b, "070701%s%08x%s%08x%08x%s", strings.Repeat("00000001", 6), len(data), strings.Repeat("00000000", 4), len(name)+1, 0, name+"\x00")
		b.WriteString(strings.Repeat("\x00", -b.Len()&3))
		b.WriteString(data + strings.Repeat("\x00", -len(data)&3))
	}
	return b.String()
}

func initrd(version string) string {
	return cpio("kernel") + gzipped(cpio("init=#!/bin/sh", "lib/modules/"+version+"/modules.dep="))
}

func status(packages ...string) string {
	var b strings.Builder
	for _, p := range packages {
		f := strings.Fields(p)
		fmt.Fprintf(&b, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n\n", f[0], f[1], f[2])
	}
	return b.String()
}

// md5sums is a file of dpkg's: names and contents in turn.
func md5sums(files ...string) string {
	var b strings.Builder
	for i := 0; i < len(files); i += 2 {
		fmt.Fprintf(&b, "%x  %s\n", md5.Sum([]byte(files[i+1])), files[i])
	}
	return b.String()
}

// dpkgKnows is an image with a package of which dpkg was told to put files elsewhere, or nowhere.
func dpkgKnows(change files) files {
	f := files{
		"var/lib/dpkg/diversions":         "/usr/bin/x\n/usr/bin/x.real\nother\n",
		"var/lib/dpkg/info/a.list":        "/.\n/usr/bin/x\n/etc/a.conf\n/etc/old.conf\n/usr/share/doc/a/README\n/usr/share/doc/a/copyright\n",
		"var/lib/dpkg/info/other.list":    "/.\n/usr/bin/x\n/usr/share/taken\n",
		"etc/dpkg/dpkg.cfg.d/docs":        "path-exclude=/usr/share/doc/*\n path-include = no\npath-include=/usr/share/doc/*/copyr?ght\n",
		"var/lib/dpkg/status":             pcMaster()["var/lib/dpkg/status"] + "Package: a\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/a.conf 0123\n /etc/old.conf 0123 obsolete\nDescription: A\n\n",
		"var/lib/dpkg/info/a.md5sums":     md5sums("usr/bin/x", "real", "etc/a.conf", "old", "usr/share/doc/a/README", "r", "usr/share/doc/a/copyright", "c", "usr/share/taken", "old"),
		"var/lib/dpkg/info/other.md5sums": md5sums("usr/bin/x", "theirs", "usr/share/taken", "new"),
		"usr/bin/x.real":                  "real", "usr/bin/x": "theirs", "etc/a.conf": "new", "usr/share/doc/a/copyright": "c", "usr/share/taken": "new",
	}
	maps.Copy(f, change)
	return f
}

const dtb = "\xd0\x0d\xfe\xed"

const bridge = `{"cniVersion": "0.4.0", "name": "edge", "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}]}`

const containerdConfig = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
`

// debian is what both images have.
func debian(program string) files {
	return files{
		"bin:->usr/bin": "", "lib:->usr/lib": "", "sbin:->usr/sbin": "", "tmp:/1777": "", "etc/machine-id": "", "usr/bin/dash:0755": program,
		"etc/shadow:0640": "root:*:19000:0:99999:7:::\nmosquitto:!:19000::::::\n", "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/gshadow": "root:*::\n",
		"usr/bin/su:4755": program, "var/lib/dpkg/info/util-linux.list": "/.\n/bin\n/bin/su\n",
		"var/lib/dpkg/info/dash.list": "/.\n/bin\n/bin/dash\n", "var/lib/dpkg/info/dash.md5sums": md5sums("bin/dash", program), "usr/bin/systemctl:0755": program,
		"usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n", "usr/sbin/sshd:0755": program,
		"usr/lib/systemd/system/getty@.service":                                                         "[Service]\nExecStart=-/sbin/agetty\n",
		"etc/systemd/system/multi-user.target.wants/ssh.service:->/lib/systemd/system/ssh.service":      "",
		"etc/systemd/system/getty.target.wants/getty@tty1.service:->/lib/systemd/system/getty@.service": "",
		"etc/systemd/system/apt-daily.timer:->/dev/null":                                                "", "var/log/journal:/2755": "",
	}
}

// piEdge is an edge node on a Raspberry Pi, with nothing wrong.
func piEdge() files {
	f := debian(arm64ELF)
	tarball := "not really a tarball"
	maps.Copy(f, files{
		"etc/fstab":                 "LABEL=writable / ext4 defaults 0 1\nLABEL=system-boot /boot/firmware vfat defaults 0 1\n/dev/sdz9 /mnt ext4 nofail 0 0\ntmpfs /run/x tmpfs x 0 0\n",
		"boot/firmware/config.txt":  "kernel=vmlinuz\ninitramfs initrd.img followkernel\ncmdline=cmdline.txt\ninclude usercfg.txt\n",
		"boot/firmware/usercfg.txt": "# nothing\n", "boot/firmware/cmdline.txt": "console=tty1 root=LABEL=writable rootwait cgroup_enable=memory cgroup_memory=1\n",
		"boot/firmware/vmlinuz": gzipped(arm64Image(piKernel)), "boot/firmware/initrd.img": initrd(piKernel), "boot/firmware/start4.elf:0755": elf(137),
		"boot/firmware/bcm2711-rpi-4-b.dtb": dtb + "4", "boot/firmware/bcm2710-rpi-3-b.dtb": dtb + "3",
		"boot/firmware/user-data": "#cloud-config\n", "boot/firmware/meta-data": "",
		"usr/lib/firmware/" + piKernel + "/device-tree/broadcom/bcm2711-rpi-4-b.dtb": dtb + "4", "usr/lib/firmware/x.so": amd64ELF,
		"usr/lib/modules/" + piKernel + "/modules.dep": "", "usr/lib/modules/" + piKernel + "/kernel/x.ko": arm64ELF,
		"var/lib/dpkg/status":     status("dpkg arm64 1.19.7", "containerd arm64 1.6.20~ds1-1+b1", "mosquitto arm64 2.0"),
		"usr/bin/containerd:0755": arm64ELF, "etc/containerd/config.toml": containerdConfig,
		"etc/cni/net.d/10-edge.conflist": bridge, "etc/cni/net.d/99-other.conf": "not looked at",
		"opt/cni/bin/bridge:0755": arm64ELF, "opt/cni/bin/host-local:0755": arm64ELF, "opt/cni/bin/portmap:0755": arm64ELF, "opt/cni/bin/loopback:0755": arm64ELF,
		"usr/lib/edgebake/images/pause.tar":          tarOf("index.json", `{"manifests": [{"annotations": {"io.containerd.image.name": "registry.k8s.io/pause:3.6"}}]}`),
		"etc/cloud/cloud.cfg":                        "users: [default]\ndatasource_list: ['Azure']\n",
		"etc/cloud/cloud.cfg.d/99-fake_cloud.cfg":    "# configure cloud-init for NoCloud\ndatasource_list: [ NoCloud, None ]\ndatasource:\n  NoCloud:\n    fs_label: system-boot\n",
		"usr/lib/edgebake/kubeedge/edgecore.service": "[Service]\n", "usr/lib/edgebake/kubeedge/kubeedge-v1.8.2-linux-arm64.tar.gz": tarball,
		"usr/lib/edgebake/kubeedge/checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt": fmt.Sprintf("%x\n", sha512.Sum512([]byte(tarball))),
		"usr/lib/edgebake/join:0755": "#!/bin/sh\nkeadm join --cgroupdriver=systemd --token=\"$TOKEN\"\n",
		"usr/bin/keadm:0755":         arm64ELF, "usr/sbin/mosquitto:0755": arm64ELF, "usr/bin/sudo:0755": arm64ELF, "usr/bin/ps:0755": arm64ELF, "usr/bin/pidof:0755": arm64ELF,
	})
	return f
}

// pcMaster is a Kubernetes master that GRUB boots, with CRI-O and nothing wrong.
func pcMaster() files {
	f := debian(amd64ELF)
	maps.Copy(f, files{
		"etc/fstab": "LABEL=root\t/ ext4 defaults 0 1\nLABEL=EFI /boot/efi vfat umask=0077 0 1\n", "boot/efi/EFI/BOOT/BOOTX64.EFI": "MZ",
		"boot/vmlinuz-" + pcKernel: bzImage(pcKernel), "boot/initrd.img-" + pcKernel: initrd(pcKernel), "usr/lib/modules/" + pcKernel + "/modules.dep": "",
		"boot/grub/grub.cfg": "menuentry 'x' {\n\tlinux\t/boot/vmlinuz-" + pcKernel + " root=LABEL=root ro swapaccount=1 console=ttyS0\n\tinitrd\t/boot/initrd.img-" + pcKernel +
			"\n}\nmenuentry 'x (recovery mode)' {\n\tlinux\t/boot/vmlinuz-" + pcKernel + " root=LABEL=root ro recovery nomodeset swapaccount=1\n\tinitrd\t/boot/initrd.img-" + pcKernel + "\n}\n",
		"etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=quiet\nGRUB_CMDLINE_LINUX=swapaccount=1\n", "etc/default/grub.d/50-cloudimg-settings.cfg": "GRUB_CMDLINE_LINUX_DEFAULT=console=ttyS0\n",
		"var/lib/dpkg/status": status("dpkg amd64 1.19.0", "cri-o amd64 1.20.0~2", "kubelet amd64 1.20.5-00", "containernetworking-plugins amd64 0.8.7"),
		"usr/bin/crio:0755":   amd64ELF, "usr/bin/kubelet:0755": amd64ELF, "usr/bin/kubeadm:0755": amd64ELF,
		"etc/crio/crio.conf": "[crio.runtime]\ncgroup_manager = \"cgroupfs\"\nlog_level = \"info\"\n", "etc/crio/crio.conf.d/10-cgroup.conf": "[crio.runtime]\ncgroup_manager = \"systemd\"\n",
		"etc/containers/storage.conf":        "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\"/usr/lib/edgebake/images/base\"]\nmountopt = \"nodev\"\n",
		"etc/cni/net.d/100-crio-bridge.conf": `{"cniVersion": "0.3.1", "name": "crio", "type": "bridge", "ipam": {"type": "host-local"}}`,
		"opt/cni/bin/bridge:0755":            amd64ELF, "opt/cni/bin/host-local:0755": amd64ELF, "opt/cni/bin/loopback:0755": amd64ELF,
		"usr/lib/edgebake/images/base/overlay-images/images.json": `[{"id": "1", "names": ["k8s.gcr.io/pause:3.2"]}]`,
		"usr/lib/edgebake/images/base/overlay-images/images.lock": "", "usr/lib/edgebake/images/base/overlay-layers/layers.lock": "",
		"usr/lib/edgebake/images/base/overlay/1/diff:/0777": "", "etc/default/kubelet": "KUBELET_EXTRA_ARGS=--cgroup-driver=systemd\n",
		"etc/cloud/cloud.cfg": "users: [default]\n", "etc/cloud/cloud.cfg.d/90_dpkg.cfg": "# to update this file, run dpkg-reconfigure cloud-init\ndatasource_list: [ ConfigDrive, OpenStack, NoCloud, None ]\n",
	})
	return f
}

// unmerged is pcMaster with files in /bin and /lib, as Ubuntu 18.04 has them.
func unmerged() files {
	f := files{}
	for name, text := range pcMaster() {
		if strings.HasSuffix(name, ":->usr/bin") || strings.HasSuffix(name, ":->usr/sbin") || strings.HasSuffix(name, ":->usr/lib") {
			continue
		}
		for _, prefix := range []string{"lib/systemd/", "lib/modules/", "bin/dash:", "bin/su:", "bin/systemctl:"} {
			if strings.HasPrefix(name, "usr/"+prefix) {
				name = strings.TrimPrefix(name, "usr/")
			}
		}
		f[name] = text
	}
	return f
}

func tree1(t testing.TB, f files) tree.Tree {
	t.Helper()
	b := tree.NewBuilder(tree.Time{Sec: 1700000000})
	for name, text := range f {
		p, how, _ := strings.Cut(name, ":")
		e := tree.Entry{Path: p, Type: tree.File, Mode: 0o644, Content: tree.InlineContent([]byte(text))}
		switch {
		case text == absent:
			continue
		case strings.HasPrefix(how, "->"):
			e = tree.Entry{Path: p, Type: tree.Symlink, Mode: 0o777, Link: how[2:]}
		case strings.HasPrefix(how, "/"):
			e = tree.Entry{Path: p, Type: tree.Dir}
			fallthrough
		case how != "":
			if _, err := fmt.Sscanf(strings.TrimPrefix(how, "/"), "%o", &e.Mode); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		b.Add(e)
	}
	out, err := b.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func layout(f files) profile.Disk {
	if _, ok := f["boot/firmware/config.txt"]; ok {
		return profile.Disk{Table: "mbr", Size: 256 << 20, Partitions: []profile.Partition{
			{Label: "system-boot", Type: disk.FAT, FS: disk.VFAT, Size: 40 << 20, Mount: "/boot/firmware", ClusterSize: 512},
			{Label: "writable", Type: disk.Linux, FS: disk.Ext4, Mount: "/"},
		}}
	}
	return profile.Disk{Table: "gpt", Size: 256 << 20, Partitions: []profile.Partition{
		{Label: "EFI", Type: disk.ESP, FS: disk.VFAT, Size: 40 << 20, Mount: "/boot/efi"},
		{Label: "root", Type: disk.Linux, FS: disk.Ext4, Mount: "/"},
	}}
}

// run assembles an image of the files and examines it.
func run(t testing.TB, f files, d profile.Disk, o lint.Options) lint.Report {
	t.Helper()
	plan, err := disk.NewPlan(d, tree1(t, f), [32]byte{7}, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.img")
	if err := disk.Assemble(context.Background(), name, plan, tree.NewReader(nil), progress.Discard{}); err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	report, err := lint.Run(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func tarOf(name, text string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "oci-layout", Size: 2, Mode: 0o644}) // into memory
	_, _ = w.Write([]byte("{}"))
	_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644})
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}
