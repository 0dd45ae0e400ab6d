package lint_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/profile"
)

func TestClean(t *testing.T) {
	for name, f := range map[string]files{"edge": piEdge(), "master": pcMaster(), "not merged": unmerged()} {
		report := run(t, f, layout(f), lint.Options{})
		if !report.OK || len(report.Findings) > 0 || len(report.Rules) != len(lint.Rules()) {
			t.Errorf("%s:\n%s", name, report)
		}
	}
}

// fault is an image with one thing wrong. The findings are "severity rule path: part of why".
type fault struct {
	base    func() files
	change  files
	want    []string
	options lint.Options
	disk    func(*profile.Disk)
}

const key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5oGPmGqm\n-----END EC PRIVATE KEY-----\n"

func replaced(text func() files, name, old, with string) string {
	return strings.Replace(text()[name], old, with, 1)
}

func bootFaults() map[string]fault {
	const fw = "boot/firmware/"
	grub := "boot/grub/grub.cfg"
	return map[string]fault{
		"foreign program":       {piEdge, files{"usr/bin/tool:0755": amd64ELF}, []string{"error elf-architecture /usr/bin/tool: a program for amd64 in an image for arm64"}, lint.Options{}, nil},
		"foreign library":       {pcMaster, files{"usr/lib/libx.so.1": arm64ELF}, []string{"error elf-architecture /usr/lib/libx.so.1: for arm64"}, lint.Options{}, nil},
		"foreign in a layer":    {pcMaster, files{"usr/lib/edgebake/images/base/overlay/1/diff/pause:0755": arm64ELF}, []string{"error elf-architecture /usr/lib/edgebake/images/base/overlay/1/diff/pause: for arm64"}, lint.Options{}, nil},
		"vdso of a module":      {pcMaster, files{"usr/lib/modules/" + pcKernel + "/vdso/vdso32.so:0755": "\x7fELF\x01\x01\x01" + elf(3)[7:]}, nil, lint.Options{}, nil},
		"foreign allowed":       {pcMaster, files{"usr/bin/x:0755": "\x7fELF\x01\x01\x01" + elf(3)[7:], "var/lib/dpkg/arch": "amd64\ni386\n"}, nil, lint.Options{}, nil},
		"other architecture":    {pcMaster, nil, []string{"error elf-architecture /opt/cni/bin/bridge: amd64 in an image for arm64", "error kernel /boot/vmlinuz-" + pcKernel + ": is for amd64, the image is for arm64"}, lint.Options{Arch: "arm64", Rules: []string{"elf-architecture", "kernel"}}, nil},
		"unknown architecture":  {pcMaster, nil, []string{"warning elf-architecture /var/lib/dpkg/status: \"vax\" is not known"}, lint.Options{Arch: "vax", Rules: []string{"elf-architecture"}}, nil},
		"no modules":            {piEdge, files{"usr/lib/modules/" + piKernel + "/modules.dep": absent, "usr/lib/modules/" + piKernel + "/kernel/x.ko": absent, "usr/lib/modules/5.4.0-1041-raspi/modules.dep": ""}, []string{"error kernel /lib/modules: /boot/firmware/vmlinuz is version " + piKernel + ", for which there are no modules"}, lint.Options{}, nil},
		"no modules.dep":        {pcMaster, files{"usr/lib/modules/" + pcKernel + "/modules.dep": absent, "usr/lib/modules/" + pcKernel + "/x": ""}, []string{"error kernel /lib/modules/" + pcKernel + ": no modules.dep"}, lint.Options{}, nil},
		"initrd of another":     {piEdge, files{fw + "initrd.img": initrd("5.4.0-1041-raspi")}, []string{"error kernel /boot/firmware/initrd.img: for the kernel 5.4.0-1041-raspi, but"}, lint.Options{}, nil},
		"module of another":     {pcMaster, files{"boot/initrd.img-" + pcKernel: cpio("modules/ext4.ko=x\x00license=GPL\x00vermagic=4.15.0-1 SMP mod_unload\x00")}, []string{"error kernel /boot/initrd.img-" + pcKernel + ": for the kernel 4.15.0-1, but"}, lint.Options{}, nil},
		"initrd cut off":        {pcMaster, files{"boot/initrd.img-" + pcKernel: initrd(pcKernel)[:300]}, []string{"error kernel /boot/initrd.img-" + pcKernel + ": cannot be read"}, lint.Options{}, nil},
		"initrd in lzo":         {pcMaster, files{"boot/initrd.img-" + pcKernel: "\x89LZO\x00\x0d\x0a"}, []string{"warning kernel /boot/initrd.img-" + pcKernel + ": nothing is known"}, lint.Options{}, nil},
		"initrd is rubbish":     {pcMaster, files{"boot/initrd.img-" + pcKernel: "\x02\x21\x4c\x18xxxxxxxx"}, []string{"error kernel /boot/initrd.img-" + pcKernel + ": cannot be read"}, lint.Options{}, nil},
		"no initrd":             {pcMaster, files{"boot/initrd.img-" + pcKernel: absent}, []string{"error kernel /boot/grub/grub.cfg: which is not there", "error kernel /boot/grub/grub.cfg: which is not there"}, lint.Options{}, nil},
		"no initrd on the FAT":  {piEdge, files{fw + "initrd.img": absent}, []string{"error kernel /boot/firmware/config.txt: a raspi3b finds its kernel", "error kernel /boot/firmware/config.txt: a raspi4b finds its kernel"}, lint.Options{}, nil},
		"no kernel":             {pcMaster, files{"boot/vmlinuz-" + pcKernel: absent}, []string{"error kernel /boot/grub/grub.cfg: which is not there", "error kernel /boot/grub/grub.cfg: which is not there"}, lint.Options{}, nil},
		"no kernel on the FAT":  {piEdge, files{fw + "vmlinuz": absent}, []string{"error kernel /boot/firmware/config.txt: neither a Raspberry Pi 3 nor a 4", "error cgroup-flags /boot/firmware/config.txt: cannot be found"}, lint.Options{}, nil},
		"kernel of another":     {piEdge, files{fw + "vmlinuz": bzImage(piKernel)}, []string{"error kernel /boot/firmware/vmlinuz: is for amd64"}, lint.Options{}, nil},
		"no kernel at all":      {piEdge, files{fw + "vmlinuz": "?"}, []string{"warning kernel /boot/firmware/vmlinuz: could not be read"}, lint.Options{}, nil},
		"no device tree":        {piEdge, files{fw + "bcm2711-rpi-4-b.dtb": absent}, []string{"error kernel /boot/firmware/config.txt: no device tree for raspi4b"}, lint.Options{}, nil},
		"broken device tree":    {piEdge, files{fw + "bcm2710-rpi-3-b.dtb": "x"}, []string{"error kernel /boot/firmware/bcm2710-rpi-3-b.dtb: not a device tree"}, lint.Options{}, nil},
		"device tree of others": {piEdge, files{fw + "bcm2711-rpi-4-b.dtb": dtb + "5"}, []string{"error kernel /boot/firmware/bcm2711-rpi-4-b.dtb: differs from /usr/lib/firmware"}, lint.Options{}, nil},
		"empty menu":            {pcMaster, files{grub: "set timeout=0\n"}, []string{"error kernel /boot/grub/grub.cfg: start nothing"}, lint.Options{}, nil},

		"flags not there":       {piEdge, files{fw + "cmdline.txt": "root=LABEL=writable\n"}, []string{"error cgroup-flags /boot/firmware/cmdline.txt: nothing in it switches"}, lint.Options{}, nil},
		"flags in another file": {piEdge, files{fw + "cmdline.txt": "root=LABEL=writable\n", fw + "nobtcmd.txt": "cgroup_enable=memory\n"}, []string{"error cgroup-flags /boot/firmware/cmdline.txt: the flags are in /boot/firmware/nobtcmd.txt, which it does not read"}, lint.Options{}, nil},
		"flags in line two":     {piEdge, files{fw + "cmdline.txt": "root=LABEL=writable\ncgroup_enable=memory cgroup_memory=1\n"}, []string{"error cgroup-flags /boot/firmware/cmdline.txt: nothing in it"}, lint.Options{}, nil},
		"flags taken back":      {piEdge, files{fw + "cmdline.txt": "root=LABEL=writable cgroup_enable=memory cgroup_disable=memory\n"}, []string{"error cgroup-flags /boot/firmware/cmdline.txt: memory cgroup off"}, lint.Options{}, nil},
		"no command line":       {piEdge, files{fw + "cmdline.txt": absent}, []string{"error kernel /boot/firmware/config.txt: raspi3b", "error kernel /boot/firmware/config.txt: raspi4b", "error cgroup-flags /boot/firmware/config.txt: cannot be found"}, lint.Options{}, nil},
		"no containers":         {pcMaster, files{grub: replaced(pcMaster, grub, "swapaccount=1", "swapaccount=1 cgroup_disable=memory"), "usr/bin/crio:0755": absent, "usr/bin/kubeadm:0755": absent, "usr/bin/kubelet:0755": absent}, nil, lint.Options{}, nil},
		"off in GRUB":           {pcMaster, files{grub: replaced(pcMaster, grub, "swapaccount=1", "swapaccount=1 cgroup_disable=memory")}, []string{"error cgroup-flags /boot/grub/grub.cfg: GRUB starts the kernel with the memory cgroup off"}, lint.Options{}, nil},
		"only for update-grub":  {pcMaster, files{"etc/default/grub.d/60-x.cfg": "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX cgroup_enable=memory quiet\"\n"}, []string{"error cgroup-flags /boot/grub/grub.cfg: cgroup_enable=memory is in /etc/default/grub", "warning cgroup-flags /boot/grub/grub.cfg: quiet is in"}, lint.Options{}, nil},

		"fstab label":       {piEdge, files{"etc/fstab": "LABEL=writable / ext4 x 0 1\nLABEL=boot /boot/firmware vfat x 0 1\n"}, []string{"error mounts /etc/fstab: LABEL=boot is mounted at /boot/firmware"}, lint.Options{Rules: []string{"mounts"}}, nil},
		"fstab case":        {piEdge, files{"etc/fstab": "LABEL=Writable / ext4 x 0 1\nUUID=12 /x ext4 x 0 0\nPARTUUID=1-2 /y ext4 noauto 0 0\n"}, []string{"error mounts /etc/fstab: LABEL=Writable", "error mounts /etc/fstab: UUID=12"}, lint.Options{Rules: []string{"mounts"}}, nil},
		"swap of a kubelet": {pcMaster, files{"etc/fstab": pcMaster()["etc/fstab"] + "# /old none swap sw 0 0\n/swap.img none swap sw 0 0\nUUID=1-2\tnone\tswap\n/swap2 none swap sw,noauto 0 0\n"}, []string{"error swap /etc/fstab: swap on /swap.img, and /usr/bin/kubelet does not start", "error swap /etc/fstab: swap on UUID=1-2"}, lint.Options{Rules: []string{"swap"}}, nil},
		"swap of an edge":   {piEdge, files{"etc/fstab": piEdge()["etc/fstab"] + "/swapfile none swap sw 0 0\n"}, nil, lint.Options{Rules: []string{"swap"}}, nil},
		"no fstab":          {pcMaster, files{"etc/fstab": absent}, []string{"warning mounts /etc/fstab: there is none"}, lint.Options{Rules: []string{"mounts"}}, nil},
		"root= on the Pi":   {piEdge, files{fw + "cmdline.txt": "root=LABEL=other cgroup_enable=memory cgroup_memory=1\n"}, []string{"error mounts /boot/firmware/cmdline.txt: LABEL=other is the root file system for the firmware"}, lint.Options{}, nil},
		"root= in GRUB":     {pcMaster, files{grub: replaced(pcMaster, grub, "root=LABEL=root ro", "root=UUID=1-2 ro")}, []string{"error mounts /boot/grub/grub.cfg: UUID=1-2 is the root"}, lint.Options{}, nil},
		"GRUB's stub":       {pcMaster, files{"boot/efi/EFI/ubuntu/grub.cfg": "search.fs_uuid 1-2 root hd0,gpt1\nset prefix=($root)/boot/grub\n"}, []string{"error mounts /boot/efi/EFI/ubuntu/grub.cfg: UUID=1-2 is where GRUB looks"}, lint.Options{}, nil},
		"GRUB's search":     {pcMaster, files{grub: "if [ x$feature = xy ]; then\n  search --no-floppy --label --set=root --hint-bios=hd0,gpt1 other\n  search --no-floppy --label --set=root root\n  search --file $x\nfi\n" + pcMaster()[grub]}, []string{"error mounts /boot/grub/grub.cfg: LABEL=other is where GRUB looks"}, lint.Options{}, nil},
		"two of a label":    {pcMaster, files{"etc/fstab": "LABEL=root / ext4 defaults 0 1\n"}, []string{"error mounts partition table: label root"}, lint.Options{Rules: []string{"mounts"}}, func(d *profile.Disk) { d.Partitions[0].Label = "root" }},
		"no room":           {pcMaster, files{"var/big": strings.Repeat("x", 10<<20)}, []string{"error free-space /: MiB are free: the system cannot", "warning free-space /: inodes are free"}, lint.Options{Rules: []string{"free-space"}}, func(d *profile.Disk) { d.Size = 70 << 20 }},
		"little room":       {pcMaster, nil, []string{"warning free-space /: MiB are free (less", "warning free-space /: inodes are free"}, lint.Options{Rules: []string{"free-space"}}, func(d *profile.Disk) { d.Size = 140 << 20 }},
		"no inodes left":    {pcMaster, manyFiles(5800), []string{"error free-space /: inodes are free: the system cannot", "warning free-space /: MiB are free (less"}, lint.Options{Rules: []string{"free-space"}}, func(d *profile.Disk) { d.Size = 140 << 20 }},
		"no room on FAT":    {piEdge, files{fw + "x": strings.Repeat("x", 39<<20-64<<10)}, []string{"error free-space /boot/firmware: KiB are free on the boot"}, lint.Options{Rules: []string{"free-space"}}, nil},
		"no upgrade on FAT": {piEdge, files{fw + "x": strings.Repeat("x", 20<<20), fw + "vmlinuz": strings.Repeat("x", 12<<20)}, []string{"warning free-space /boot/firmware: an upgrade of the kernel will fail"}, lint.Options{Rules: []string{"free-space"}}, nil},
	}
}

func serviceFaults() map[string]fault {
	const wants, seed, crio = "etc/systemd/system/multi-user.target.wants/", "etc/cloud/cloud.cfg.d/99-fake_cloud.cfg", "etc/crio/crio.conf.d/10-cgroup.conf"
	const golden, join = "usr/lib/edgebake/kubeedge/", "usr/lib/edgebake/join:0755"
	conflist, crioNet := "etc/cni/net.d/10-edge.conflist", "etc/cni/net.d/100-crio-bridge.conf"
	toml := "etc/containerd/config.toml"
	return map[string]fault{
		"unit not there":     {piEdge, files{wants + "crio.service:->/lib/systemd/system/crio.service": ""}, []string{"error units /" + wants + "crio.service: there is no such unit"}, lint.Options{}, nil},
		"instance not there": {piEdge, files{wants + "x@1.service:->/lib/systemd/system/x@.service": ""}, []string{"error units /" + wants + "x@1.service: no such unit"}, lint.Options{}, nil},
		"link to elsewhere":  {pcMaster, files{"usr/lib/systemd/system/a.service": "", wants + "a.service:->/usr/lib/systemd/user/a.service": ""}, []string{"warning units /" + wants + "a.service: leads to /usr/lib/systemd/user"}, lint.Options{}, nil},
		"alias to nowhere":   {pcMaster, files{"etc/systemd/system/default.target:->/lib/systemd/system/x.target": ""}, []string{"error units /etc/systemd/system/default.target: a link to /lib"}, lint.Options{}, nil},
		"unit twice":         {unmerged, files{"usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/other\n"}, nil, lint.Options{}, nil},
		"first of two units": {unmerged, files{"usr/lib/systemd/system/ssh.service": "[Service]\n", "lib/systemd/system/ssh.service": "[Service]\nExecStart=/sbin/other\n"}, []string{"error units /" + wants + "ssh.service: starts /sbin/other, which is not there"}, lint.Options{}, nil},
		"program not there":  {pcMaster, files{"usr/sbin/sshd:0755": absent}, []string{"error units /" + wants + "ssh.service: starts /usr/sbin/sshd, which is not there"}, lint.Options{}, nil},
		"conditional unit":   {pcMaster, files{"usr/sbin/sshd:0755": absent, "usr/lib/systemd/system/ssh.service": "[Unit]\nConditionPathExists=/x\n[Service]\nExecStart=/usr/sbin/sshd\n"}, nil, lint.Options{}, nil},

		"cgroupfs":             {piEdge, files{toml: "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.6\"\n"}, []string{"error cgroup-driver /usr/lib/edgebake/join: edgecore is told to use the cgroup driver systemd, but containerd uses cgroupfs", "warning cgroup-driver /etc/containerd/config.toml: cgroupfs beside systemd"}, lint.Options{}, nil},
		"edgecore's driver":    {piEdge, files{join: "keadm join --cgroupdriver cgroupfs\n"}, []string{"error cgroup-driver /usr/lib/edgebake/join: edgecore is told"}, lint.Options{}, nil},
		"edgecore.yaml":        {piEdge, files{"etc/kubeedge/config/edgecore.yaml": "modules:\n  edged:\n    cgroupDriver: cgroupfs\n"}, []string{"error cgroup-driver /etc/kubeedge/config/edgecore.yaml: edgecore is told"}, lint.Options{}, nil},
		"kubelet's driver":     {pcMaster, files{crio: "[crio.runtime]\ncgroup_manager = \"cgroupfs\"\nconmon_cgroup = \"pod\"\n"}, []string{"error cgroup-driver /etc/default/kubelet: the kubelet is told", "warning cgroup-driver /" + crio + ": beside systemd"}, lint.Options{}, nil},
		"conmon":               {pcMaster, files{crio: "", "etc/default/kubelet": absent}, []string{"error cgroup-driver /etc/crio/crio.conf: refuses conmon_cgroup", "warning cgroup-driver /etc/crio/crio.conf: beside systemd"}, lint.Options{}, nil},
		"broken configuration": {pcMaster, files{crio: "[crio.runtime\n"}, []string{"error cgroup-driver /" + crio + ": crio cannot read it"}, lint.Options{}, nil},
		"version 3":            {piEdge, files{toml: "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox='registry.k8s.io/pause:3.6'\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"}, nil, lint.Options{}, nil},

		"containerd too new":  {piEdge, files{"var/lib/dpkg/status": status("dpkg arm64 1", "containerd arm64 2.0.2")}, []string{"error cri /usr/bin/containerd: edgecore 1.8.2 speaks CRI v1alpha2 only"}, lint.Options{}, nil},
		"CRI-O too new":       {pcMaster, files{"var/lib/dpkg/status": status("dpkg amd64 1", "cri-o amd64 1.26.1", "kubelet amd64 1.20.5-00"), "usr/lib/edgebake/images/base/overlay-images/images.json": `[{"names": ["registry.k8s.io/pause:3.6"]}]`}, []string{"error cri /usr/bin/crio: kubelet 1.20.5 speaks CRI v1alpha2 only, which crio 1.26.1"}, lint.Options{}, nil},
		"CRI-O too old":       {pcMaster, files{"var/lib/dpkg/status": status("dpkg amd64 1", "cri-o amd64 1.17.4", "kubelet amd64 1.20.5-00")}, []string{"error cri /usr/bin/crio: 1.17.4 is too old"}, lint.Options{}, nil},
		"kubelet too new":     {pcMaster, files{"var/lib/dpkg/status": status("dpkg amd64 1", "cri-o amd64 1.19.6", "kubelet amd64 1.27.0-00")}, []string{"error cri /usr/bin/crio: speaks CRI v1 only"}, lint.Options{}, nil},
		"kubelet by hand":     {pcMaster, files{"var/lib/dpkg/status": status("dpkg amd64 1", "cri-o amd64 1.26.1"), "usr/lib/edgebake/kubernetes/kubeadm.yaml": "kubernetesVersion: v1.20.5\n---\ncgroupDriver: cgroupfs\n", "usr/lib/edgebake/images/base/overlay-images/images.json": `[{"names": ["registry.k8s.io/pause:3.6"]}]`}, []string{"error cri /usr/bin/crio: kubelet 1.20.5 speaks CRI v1alpha2 only", "error cgroup-driver /usr/lib/edgebake/kubernetes/kubeadm.yaml: the kubelet is told"}, lint.Options{}, nil},
		"unknown kubelet":     {pcMaster, files{"var/lib/dpkg/status": status("dpkg amd64 1", "cri-o amd64 1.26.1"), "usr/lib/edgebake/images/base/overlay-images/images.json": `[{"names": ["registry.k8s.io/pause:3.6"]}]`}, nil, lint.Options{}, nil},
		"other socket":        {piEdge, files{join: "keadm join --remote-runtime-endpoint=unix:///var/run/crio/crio.sock --cgroupdriver=systemd\n"}, []string{"error cri /usr/lib/edgebake/join: edgecore is told to call unix:///var/run/crio/crio.sock, but crio"}, lint.Options{}, nil},
		"right socket":        {pcMaster, files{"etc/default/kubelet": "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///var/run/crio/crio.sock --cgroup-driver=systemd\n"}, nil, lint.Options{}, nil},
		"other name":          {pcMaster, files{join: "keadm join --remote-runtime-endpoint /run/crio/crio.sock\n"}, []string{"warning cri /usr/lib/edgebake/join: by the name"}, lint.Options{}, nil},
		"CRI disabled":        {piEdge, files{toml: "disabled_plugins = [\"cri\"]\n" + containerdConfig}, []string{"error cri /etc/containerd/config.toml: without its CRI service"}, lint.Options{}, nil},
		"no runtime":          {piEdge, files{"usr/bin/containerd:0755": absent}, []string{"error cri /usr/bin: no container runtime"}, lint.Options{}, nil},
		"no network":          {piEdge, files{conflist: absent, "etc/cni/net.d/99-other.conf": absent}, []string{"error cni /etc/cni/net.d: no CNI configuration for containerd"}, lint.Options{}, nil},
		"no network yet":      {pcMaster, files{crioNet: absent}, []string{"warning cni /etc/cni/net.d: no CNI configuration for crio"}, lint.Options{}, nil},
		"plugin not there":    {piEdge, files{"opt/cni/bin/host-local:0755": absent}, []string{"error cni /opt/cni/bin/host-local: not there"}, lint.Options{}, nil},
		"loopback not there":  {pcMaster, files{"opt/cni/bin/loopback:0755": absent}, []string{"error cni /opt/cni/bin/loopback: not there"}, lint.Options{}, nil},
		"plugin not runnable": {pcMaster, files{"opt/cni/bin/bridge:0755": absent, "opt/cni/bin/bridge": amd64ELF}, []string{"error cni /opt/cni/bin/bridge: mode 0644"}, lint.Options{}, nil},
		"CNI too new":         {pcMaster, files{crioNet: replaced(pcMaster, crioNet, "0.3.1", "1.0.0")}, []string{"error cni /" + crioNet + ": says cniVersion 1.0.0, but /opt/cni/bin/bridge speaks up to 0.4.0"}, lint.Options{}, nil},
		"CNI just right":      {pcMaster, files{crioNet: replaced(pcMaster, crioNet, "0.3.1", "1.0.0"), "var/lib/dpkg/status": strings.Replace(pcMaster()["var/lib/dpkg/status"], "0.8.7", "1.1.1+ds1-3", 1)}, nil, lint.Options{}, nil},
		"CNI is no JSON":      {piEdge, files{conflist: "{"}, []string{"error cni /" + conflist + ": cannot read"}, lint.Options{}, nil},
		"CNI says nothing":    {piEdge, files{conflist: "{}"}, []string{"error cni /" + conflist + ": names no plugin"}, lint.Options{}, nil},
		"other plugin dir":    {pcMaster, files{crio: "[crio.runtime]\ncgroup_manager = \"systemd\"\n[crio.network]\nplugin_dirs = [\"/usr/lib/cni\", \"/opt/cni/bin/\"]\n"}, nil, lint.Options{}, nil},

		"other pause image":      {piEdge, files{toml: strings.Replace(containerdConfig, "3.6", "3.7", 1)}, []string{"error pause-image /etc/containerd/config.toml: needs the image registry.k8s.io/pause:3.7 for every pod, but the preloaded images are registry.k8s.io/pause:3.6"}, lint.Options{}, nil},
		"no pause image":         {piEdge, files{"usr/lib/edgebake/images/pause.tar": absent}, []string{"warning pause-image /etc/containerd/config.toml: the first pod needs the registry"}, lint.Options{}, nil},
		"other pause in a store": {pcMaster, files{crio: "[crio.runtime]\ncgroup_manager = \"systemd\"\n[crio.image]\npause_image = \"kubeedge/pause:3.1\"\n"}, []string{"error pause-image /" + crio + ": kubeedge/pause:3.1"}, lint.Options{}, nil},
		"store not there":        {pcMaster, files{"etc/containers/storage.conf": "[storage.options]\nadditionalimagestores = [\"/usr/lib/none\"]\n"}, []string{"error pause-image /usr/lib/none: does not start at all", "warning pause-image /etc/crio/crio.conf.d/10-cgroup.conf: registry"}, lint.Options{}, nil},
		"store without a lock":   {pcMaster, files{"usr/lib/edgebake/images/base/overlay-layers/layers.lock": absent}, []string{"error pause-image /usr/lib/edgebake/images/base/overlay-layers/layers.lock: cannot be opened"}, lint.Options{}, nil},
		"metacopy":               {pcMaster, files{"etc/containers/storage.conf": replaced(pcMaster, "etc/containers/storage.conf", "nodev", "nodev,metacopy=on")}, []string{"error storage /etc/containers/storage.conf: metacopy=on, which the kernel " + pcKernel}, lint.Options{}, nil},
		"metacopy in CRI-O":      {pcMaster, files{crio: "[crio.runtime]\ncgroup_manager = \"systemd\"\n[crio]\nstorage_option = [\"overlay.mountopt=nodev,metacopy=on\", \"overlay.imagestore=/usr/lib/edgebake/images/base\"]\n"}, []string{"error storage /" + crio + ": metacopy=on"}, lint.Options{}, nil},
		"metacopy on new kernel": {piEdge, files{"etc/containers/storage.conf": "[storage.options.overlay]\nmountopt = \"nodev,metacopy=on\"\n"}, nil, lint.Options{}, nil},
		"broken storage.conf":    {piEdge, files{"etc/containers/storage.conf": "[["}, []string{"error storage /etc/containers/storage.conf: cannot be read"}, lint.Options{}, nil},

		"list over two lines":   {piEdge, files{seed: "datasource_list:\n  - NoCloud\n  - None\ndatasource: {NoCloud: {fs_label: system-boot}}\n"}, []string{"error cloud-init /" + seed + ": on one line"}, lint.Options{}, nil},
		"seed not in the list":  {piEdge, files{seed: "datasource_list: [ ConfigDrive, None ]\ndatasource: {NoCloud: {fs_label: system-boot}}\n"}, []string{"error cloud-init /" + seed + ": the seed in /boot/firmware/ is not read"}, lint.Options{}, nil},
		"seed with other label": {piEdge, files{seed: "datasource_list: [ NoCloud, None ]\n"}, []string{"error cloud-init /etc/cloud/cloud.cfg.d: NoCloud looks for \"cidata\""}, lint.Options{}, nil},
		"label in upper case":   {piEdge, files{seed: "datasource_list: [ NoCloud, None ]\ndatasource: {NoCloud: {fs_label: SYSTEM-BOOT}}\n"}, nil, lint.Options{}, nil},
		"label switched off":    {piEdge, files{seed: "datasource_list: [ NoCloud, None ]\ndatasource:\n  NoCloud:\n    fs_label: null\n"}, []string{"error cloud-init /" + seed + ": looks for \"\""}, lint.Options{}, nil},
		"label of nobody":       {pcMaster, files{"etc/cloud/cloud.cfg.d/99-x.cfg": "datasource_list: [ NoCloud ]\ndatasource: {NoCloud: {fs_label: seed}}\n"}, []string{"error cloud-init /etc/cloud/cloud.cfg.d/99-x.cfg: \"seed\", which the image does not have"}, lint.Options{}, nil},
		"seed from outside":     {pcMaster, files{"etc/cloud/cloud.cfg.d/99-x.cfg": "datasource_list: [ NoCloud ]\n"}, nil, lint.Options{}, nil},
		"half a seed":           {piEdge, files{"boot/firmware/meta-data": absent}, []string{"error cloud-init /boot/firmware/meta-data: only with meta-data"}, lint.Options{}, nil},
		"underscore":            {piEdge, files{"boot/firmware/meta-data": "instance_id: cloud-image\n"}, []string{"warning cloud-init /boot/firmware/meta-data: underscore"}, lint.Options{}, nil},
		"cloud-init disabled":   {piEdge, files{"etc/cloud/cloud-init.disabled": ""}, []string{"warning cloud-init /etc/cloud/cloud-init.disabled: disabled"}, lint.Options{}, nil},
		"cloud.cfg is no YAML":  {piEdge, files{"etc/cloud/cloud.cfg.d/10-x.cfg": "datasource_list: [\n"}, []string{"warning cloud-init /etc/cloud/cloud.cfg.d/10-x.cfg: cannot be read"}, lint.Options{}, nil},

		"no checksum":      {piEdge, files{golden + "checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt": absent}, []string{"error kubeedge /" + golden + "checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt: waits for ever"}, lint.Options{}, nil},
		"checksum of sum":  {piEdge, files{golden + "checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt": strings.Repeat("0", 128) + "  kubeedge.tar.gz\n"}, []string{"error kubeedge /" + golden + "checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt: alone"}, lint.Options{}, nil},
		"foreign tarball":  {piEdge, nil, []string{"error kubeedge /" + golden + "kubeedge-v1.8.2-linux-arm64.tar.gz: for arm64 in an image for amd64"}, lint.Options{Arch: "amd64", Rules: []string{"kubeedge"}}, nil},
		"unit in the way":  {piEdge, files{"etc/systemd/system/edgecore.service": "[Service]\n"}, []string{"error kubeedge /etc/systemd/system/edgecore.service: fails when it exists"}, lint.Options{}, nil},
		"no mosquitto":     {piEdge, files{"usr/sbin/mosquitto:0755": absent}, []string{"error kubeedge /usr/bin/mosquitto: from the network"}, lint.Options{}, nil},
		"no edgecore unit": {piEdge, files{golden + "edgecore.service": absent}, []string{"warning kubeedge /usr/lib/edgebake/kubeedge: from the network"}, lint.Options{Role: lint.Edge}, nil},
		"kubelet on edge":  {piEdge, files{"usr/bin/kubelet:0755": arm64ELF, "usr/lib/systemd/system/kube-proxy.service": "[Service]\n"}, []string{"error edge-kubelet /usr/bin/kubelet: beside kubelet", "error edge-kubelet /usr/lib/systemd/system/kube-proxy.service: on an edge"}, lint.Options{}, nil},
		"master as edge":   {pcMaster, nil, []string{"error edge-kubelet /usr/bin/kubelet: beside kubelet"}, lint.Options{Role: lint.Edge, Rules: []string{"edge-kubelet"}}, nil},
	}
}

func hygieneFaults() map[string]fault {
	token := strings.Repeat("0a", 32) + ".eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE2fQ.TmV2ZXIgYSByZWFsIG9uZSwgbm90IGhlcmU"
	booted := lint.Options{Booted: true}
	return map[string]fault{
		"host key":                 {piEdge, files{"etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA"}, []string{"error identity /etc/ssh/ssh_host_ed25519_key.pub: same"}, lint.Options{}, nil},
		"machine id":               {piEdge, files{"etc/machine-id": "0123456789abcdef0123456789abcdef\n"}, []string{"error identity /etc/machine-id: one machine"}, lint.Options{}, nil},
		"uninitialized":            {piEdge, files{"etc/machine-id": "uninitialized\n", "var/lib/dbus/machine-id:->/etc/machine-id": ""}, nil, lint.Options{}, nil},
		"random seed":              {pcMaster, files{"var/lib/systemd/random-seed": "x"}, []string{"error identity /var/lib/systemd/random-seed: randomness"}, lint.Options{}, nil},
		"booted":                   {pcMaster, files{"var/lib/cloud/instances/i-1/user-data.txt": "x", "var/lib/cloud/instance:->/var/lib/cloud/instances/i-1": ""}, []string{"error identity /var/lib/cloud/instance: has booted", "error identity /var/lib/cloud/instances/i-1: one machine"}, lint.Options{}, nil},
		"joined":                   {piEdge, files{"etc/kubeedge/certs/server.crt": "x"}, []string{"error identity /etc/kubeedge/certs/server.crt: one node"}, lint.Options{}, nil},
		"leases":                   {pcMaster, files{"var/lib/dhcp/dhclient.leases": "lease"}, []string{"warning identity /var/lib/dhcp/dhclient.leases: addresses"}, lint.Options{}, nil},
		"private key":              {piEdge, files{"root/x/backup.txt": key}, []string{"error secrets /root/x/backup.txt: a private key"}, lint.Options{}, nil},
		"key on the FAT":           {piEdge, files{"boot/firmware/ssh": key}, []string{"error secrets /boot/firmware/ssh: a private key"}, lint.Options{}, nil},
		"key's form":               {piEdge, files{"etc/README": "put it after -----BEGIN PRIVATE KEY-----\nand before the end\n"}, nil, lint.Options{}, nil},
		"token":                    {piEdge, files{"etc/edge/join.env": "TOKEN=" + token + "\n"}, []string{"error tokens /etc/edge/join.env: joining KubeEdge"}, lint.Options{}, nil},
		"token in a pickle":        {piEdge, files{"var/lib/cloud/instances/x/obj.pkl": "\x80\x04X\x01\x00\x00\x00" + token + "q\x01"}, []string{"error tokens /var/lib/cloud/instances/x/obj.pkl: joining"}, booted, nil},
		"token in a log":           {piEdge, files{"var/log/syslog.2.gz": gzipped("TOKEN=" + token)}, []string{"error tokens /var/log/syslog.2.gz: joining"}, booted, nil},
		"token in a program":       {piEdge, files{"usr/lib/x.bin": strings.Repeat("\x00", 3<<20) + token}, []string{"error tokens /usr/lib/x.bin: joining"}, booted, nil},
		"token on the FAT":         {piEdge, files{"boot/firmware/user-data": "#cloud-config\n# " + token}, []string{"error tokens /boot/firmware/user-data: joining"}, booted, nil},
		"token's form":             {piEdge, files{"usr/share/doc/join": strings.Repeat("0a", 32) + ".eyJ...\nthree parts.eyJhbGciOiJIUzI1NiJ9.x\n"}, nil, lint.Options{}, nil},
		"web token, booted":        {pcMaster, files{"etc/x": "t: eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE2fQ.TmV2ZXIgYSByZWFsIG9uZQ\n"}, []string{"error secrets /etc/x: web token"}, booted, nil},
		"after a boot":             {piEdge, afterBoot(0o600), nil, booted, nil},
		"readable key":             {piEdge, afterBoot(0o644), []string{"error secrets /etc/kubeedge/certs/server.key: others than root"}, booted, nil},
		"empty password, booted":   {piEdge, files{"etc/shadow:0640": "root::1::::::\nu:$6$a$b:1::::::\n"}, []string{"error passwords /etc/shadow: root can log in"}, booted, nil},
		"web token":                {pcMaster, files{"home/u/x": "t: eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE2fQ.TmV2ZXIgYSByZWFsIG9uZQ\n"}, []string{"error secrets /home/u/x: web token"}, lint.Options{}, nil},
		"kubeadm token":            {pcMaster, files{"etc/kubernetes/join.sh": "kubeadm join --token abcdef.0123456789abcdef\n"}, []string{"error secrets /etc/kubernetes/join.sh: bootstrap token"}, lint.Options{}, nil},
		"kubeconfig":               {pcMaster, files{"root/.kube/config": "client-key-data: " + strings.Repeat("QUJD", 20) + "\n"}, []string{"error secrets /root/.kube/config: client's key"}, lint.Options{}, nil},
		"wireless":                 {piEdge, files{"etc/wpa_supplicant/wpa_supplicant.conf": "network={\n  ssid=\"x\"\n  psk=\"correct horse\"\n}\n"}, []string{"error secrets /etc/wpa_supplicant/wpa_supplicant.conf: wireless"}, lint.Options{}, nil},
		"netplan":                  {piEdge, files{"boot/firmware/network-config": "wifis:\n  wlan0:\n    access-points:\n      home:\n        password: \"correct horse\"\n"}, []string{"error secrets /boot/firmware/network-config: wireless"}, lint.Options{}, nil},
		"example":                  {piEdge, files{"boot/firmware/network-config": "#    access-points:\n#      home:\n#        password: \"S3kr1tpassword\"\n"}, nil, lint.Options{}, nil},
		"credentials":              {pcMaster, files{"root/.netrc": "machine x"}, []string{"error secrets /root/.netrc: credentials"}, lint.Options{}, nil},
		"password hash":            {piEdge, files{"etc/shadow:0640": "root:*:1::::::\nubuntu:$6$abc$def:19000::::::\n"}, []string{"error passwords /etc/shadow: ubuntu"}, lint.Options{}, nil},
		"no password":              {piEdge, files{"etc/shadow:0640": "root::1::::::\n"}, []string{"error passwords /etc/shadow: root can log in without"}, lint.Options{}, nil},
		"seed password":            {piEdge, files{"boot/firmware/user-data": "#cloud-config\nchpasswd:\n  list: [\"ubuntu:ubuntu\"]\n"}, []string{"warning passwords /boot/firmware/user-data: sets a password"}, lint.Options{}, nil},
		"history":                  {piEdge, files{"root/.bash_history": "ls\n", "home/u/.lesshst": ""}, []string{"error traces /root/.bash_history: typed"}, lint.Options{}, nil},
		"logs":                     {pcMaster, files{"var/log/apt/history.log": "x", "var/log/empty.log": ""}, []string{"warning traces /var/log/apt/history.log: 1 bytes"}, lint.Options{}, nil},
		"many logs":                {pcMaster, manyLogs(40), append(slices.Repeat([]string{"warning traces /var/log/: a log"}, 11), "warning traces /var/log/: and 28 more of the kind"), lint.Options{}, nil},
		"temporary":                {pcMaster, files{"tmp/x": "x"}, []string{"warning traces /tmp/x: temporary"}, lint.Options{}, nil},
		"backup":                   {pcMaster, files{"etc/shadow-:0600": "x"}, []string{"warning traces /etc/shadow-: backup"}, lint.Options{}, nil},
		"half installed":           {pcMaster, files{"var/lib/dpkg/status": strings.Replace(pcMaster()["var/lib/dpkg/status"], "cri-o\nStatus: install ok installed", "cri-o\nStatus: install ok half-configured", 1)}, []string{"error packages /var/lib/dpkg/status: cri-o is half-configured"}, lint.Options{}, nil},
		"policy-rc.d":              {pcMaster, files{"usr/sbin/policy-rc.d:0755": "#!/bin/sh\nexit 101\n"}, []string{"error packages /usr/sbin/policy-rc.d: starting"}, lint.Options{}, nil},
		"interrupted":              {pcMaster, files{"var/lib/dpkg/updates/0001": "x", "etc/x.dpkg-new": ""}, []string{"error packages /var/lib/dpkg/updates/0001: interrupted", "error packages /etc/x.dpkg-new: never put"}, lint.Options{}, nil},
		"lock":                     {pcMaster, files{"var/lib/dpkg/lock": "", "var/lib/apt/lists/lock": "123\n"}, []string{"warning packages /var/lib/dpkg/lock: lock file", "warning packages /var/lib/apt/lists/lock: lock file"}, lint.Options{}, nil},
		"cache":                    {pcMaster, files{"var/cache/apt/archives/x_1_all.deb": "!<arch>"}, []string{"warning packages /var/cache/apt/archives/x_1_all.deb: package"}, lint.Options{}, nil},
		"world-writable":           {pcMaster, files{"etc/x:0666": "", "srv:/0777": ""}, []string{"error permissions /etc/x: 0666", "error permissions /srv: 0777"}, lint.Options{}, nil},
		"package's file changed":   {pcMaster, files{"usr/bin/dash:0755": amd64ELF + "x"}, []string{"warning package-files /bin/dash: of the package dash"}, lint.Options{}, nil},
		"package's file gone":      {piEdge, files{"usr/bin/dash:0755": absent}, []string{"warning package-files /bin/dash: it belongs to the package dash, and is not there"}, lint.Options{}, nil},
		"package's directory":      {pcMaster, dpkgKnows(files{"var/lib/dpkg/info/b.list": "/.\n/run/b\n/usr/lib\n/var/cache/b\n/sbin\n"}), []string{"warning package-files /var/cache/b: it belongs to the package b"}, lint.Options{}, nil},
		"package's link elsewhere": {pcMaster, dpkgKnows(files{"usr/bin/x.real": absent, "usr/bin/x.real:->x": ""}), []string{"warning package-files /usr/bin/x.real: of the package a"}, lint.Options{}, nil},
		"configuration gone":       {pcMaster, dpkgKnows(files{"etc/a.conf": absent}), []string{"warning package-files /etc/a.conf: is not there"}, lint.Options{}, nil},
		"package's other places":   {pcMaster, dpkgKnows(nil), nil, lint.Options{}, nil},
		"diverted file changed":    {pcMaster, dpkgKnows(files{"usr/bin/x.real": "theirs"}), []string{"warning package-files /usr/bin/x.real: of the package a"}, lint.Options{}, nil},
		"diverting file changed":   {pcMaster, dpkgKnows(files{"usr/bin/x": "real", "usr/share/taken": "old"}), []string{"warning package-files /usr/bin/x: of the package other", "warning package-files /usr/share/taken: of the package other"}, lint.Options{}, nil},
		"included file gone":       {pcMaster, dpkgKnows(files{"usr/share/doc/a/copyright": absent}), []string{"warning package-files /usr/share/doc/a/copyright: is not there"}, lint.Options{}, nil},
		"excluded file changed":    {pcMaster, dpkgKnows(files{"usr/share/doc/a/README": "x"}), []string{"warning package-files /usr/share/doc/a/README: of the package a"}, lint.Options{}, nil},
		"setuid":                   {pcMaster, files{"usr/local/bin/x:4755": ""}, []string{"warning permissions /usr/local/bin/x: no package brought it"}, lint.Options{}, nil},
		"setuid beside":            {unmerged, files{"usr/bin/su:4755": ""}, []string{"warning permissions /usr/bin/su: no package brought it"}, lint.Options{}, nil},
	}
}

// afterBoot is what a node that has joined has more than its image.
func afterBoot(mode int) files {
	return files{
		"etc/ssh/ssh_host_ed25519_key:0600": key, "etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA", "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
		"var/lib/systemd/random-seed:0600": "x", "var/lib/cloud/instance:->/var/lib/cloud/instances/i-1": "", "var/lib/cloud/instances/i-1/user-data.txt:0600": "#cloud-config\n",
		"var/log/cloud-init.log": "x", "var/log/journal/0/system.journal:0640": "LPKSHHRH", "var/lib/dpkg/lock": "", "etc/.pwd.lock:0600": "", "var/lib/dhcp/dhclient.leases": "lease",
		"etc/systemd/system/edgecore.service": "[Service]\n", "etc/kubeedge/certs/server.crt": "x", fmt.Sprintf("etc/kubeedge/certs/server.key:%04o", mode): key,
		"etc/netplan/50-cloud-init.yaml": "network: {}\n", "etc/passwd-": "x", "tmp/x": "x", "etc/shadow:0640": "root:*:1::::::\nedge:$6$abc$def:19000::::::\n",
	}
}

func manyFiles(n int) files {
	f := files{}
	for i := range n {
		f[fmt.Sprintf("srv/%d", i)] = ""
	}
	return f
}

func manyLogs(n int) files {
	f := files{}
	for i := range n {
		f["var/log/"+strings.Repeat("x", i+1)] = "x"
	}
	return f
}

func TestFaults(t *testing.T) {
	all := bootFaults()
	maps.Copy(all, serviceFaults())
	maps.Copy(all, hygieneFaults())
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for the disk
			f := tc.base()
			d := layout(f)
			maps.Copy(f, tc.change)
			if tc.disk != nil {
				tc.disk(&d)
			}
			report := run(t, f, d, tc.options)
			var unexpected []lint.Finding
			want := slices.Clone(tc.want)
			for _, found := range report.Findings {
				i := slices.IndexFunc(want, func(w string) bool { return matches(w, found) })
				if i < 0 {
					unexpected = append(unexpected, found)
					continue
				}
				want = slices.Delete(want, i, i+1)
				if found.Fix == "" {
					t.Errorf("no fix for %v", found)
				}
			}
			if bad := strings.Contains(strings.Join(tc.want, "\n"), "error "); report.OK == bad {
				t.Errorf("the report says OK: %v", report.OK)
			}
			if tc.options.Rules != nil && name == "other architecture" {
				unexpected = nil // all of the programs
			}
			if len(want) > 0 || len(unexpected) > 0 {
				t.Errorf("not found: %q\nnot wanted: %+v", want, unexpected)
			}
		})
	}
}

// TestUnmounted looks for a token on a partition that fstab does not name.
func TestUnmounted(t *testing.T) {
	f := pcMaster()
	f["boot/efi/old/x"] = strings.Repeat("0a", 32) + ".eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE2fQ.TmV2ZXIgYSByZWFsIG9uZSwgbm90IGhlcmU"
	d := layout(f)
	f["etc/fstab"] = "LABEL=root / ext4 defaults 0 1\n"
	report := run(t, f, d, lint.Options{Rules: []string{"tokens"}})
	if len(report.Findings) != 1 || report.Findings[0].Path != "partition 1: /old/x" {
		t.Errorf("got %+v", report.Findings)
	}
}

// TestEveryRule wants an image for each rule that breaks it; TestClean has two that break none.
func TestEveryRule(t *testing.T) {
	broken := map[string]bool{}
	for _, cases := range []map[string]fault{bootFaults(), serviceFaults(), hygieneFaults()} {
		for _, tc := range cases {
			for _, w := range tc.want {
				broken[strings.Fields(w)[1]] = true
			}
		}
	}
	for _, r := range lint.Rules() {
		if !broken[r.ID] {
			t.Errorf("no test breaks the rule %s (%s)", r.ID, r.Summary)
		}
	}
}

func matches(want string, f lint.Finding) bool {
	head, why, _ := strings.Cut(want, ": ")
	return strings.HasPrefix(string(f.Severity)+" "+f.Rule+" "+f.Path, head) && strings.Contains(f.Why, why) &&
		(strings.HasSuffix(head, "/") || string(f.Severity)+" "+f.Rule+" "+f.Path == head)
}

func TestOptions(t *testing.T) {
	var unknown *lint.UnknownRuleError
	if _, err := lint.Run(context.Background(), nil, lint.Options{Rules: []string{"spelling"}}); !errors.As(err, &unknown) || unknown.ID != "spelling" {
		t.Errorf("got %v", err)
	}
	f := piEdge()
	f["etc/shadow:0640"] = "root::1::::::\n"
	report := run(t, f, layout(f), lint.Options{Rules: []string{"passwords", "kernel"}})
	if len(report.Findings) != 1 || strings.Join(report.Rules, " ") != "kernel passwords" || report.Arch != "arm64" {
		t.Errorf("got %+v", report)
	}
	if text := report.String(); !strings.Contains(text, "error: passwords: /etc/shadow\n  root can log in without a password\n  fix: lock") || !strings.HasSuffix(text, "1 errors, 0 warnings; 2 rules\n") {
		t.Errorf("got %q", text)
	}
	b, err := report.JSON()
	if err != nil || !strings.Contains(string(b), `"severity": "error"`) {
		t.Errorf("got %s, %v", b, err)
	}
}
