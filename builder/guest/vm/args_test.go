package vm

import (
	"strings"
	"testing"
)

func TestArgs(t *testing.T) {
	cases := []struct {
		name    string
		machine Machine
		want    string // what must be in the arguments, joined by blanks
	}{
		{"arm64 default", Machine{Arch: "arm64", Kernel: "k"}, "-machine virt -accel tcg,thread=multi,tb-size=512 -cpu max,pauth=off,sve=off -smp 1 -m 1024M -kernel k"},
		{"amd64 default", Machine{Arch: "amd64", Kernel: "k"}, "-machine q35 -accel tcg,thread=multi,tb-size=512 -cpu max -smp 1 -m 1024M -kernel k"},
		{"kvm takes the host's CPU", Machine{Arch: "amd64", Kernel: "k", Accel: "kvm", CPUs: 2}, "-accel kvm -cpu host -smp 2"},
		{"direct boot", Machine{Arch: "arm64", Kernel: "k", Initrd: "i", DTB: "d", Cmdline: "root=LABEL=a quiet"}, "-kernel k -initrd i -dtb d -append root=LABEL=a quiet"},
		{"firmware", Machine{Arch: "amd64", Firmware: "/a,b", FirmwareVars: "v"}, "if=pflash,format=raw,unit=0,readonly=on,file=/a,,b -drive if=pflash,format=raw,unit=1,file=v"},
		{"mmio disk", Machine{Arch: "arm64", Kernel: "k", Disks: []Disk{{Path: "a"}, {Path: "b", Format: "qcow2", Unsafe: true}}}, "if=none,id=disk0,format=raw,file=a,werror=report -device virtio-blk-device,drive=disk0 -drive if=none,id=disk1,format=qcow2,file=b,cache=unsafe,werror=report -device virtio-blk-device,drive=disk1"},
		{"pci disk", Machine{Arch: "amd64", Kernel: "k", Disks: []Disk{{Path: "a", Snapshot: true, ReadOnly: true}}}, "format=raw,file=a,snapshot=on,readonly=on -device virtio-blk-pci,drive=disk0"},
		{"raspi3b", Machine{Arch: "arm64", Board: "raspi3b", Kernel: "k", Network: true, Disks: []Disk{{Path: "a", Bus: "sd"}}}, "-machine raspi3b -accel tcg,thread=single,tb-size=512 -smp 4 -m 1024M -kernel k -drive if=sd,format=raw,file=a -netdev user,id=net0 -device usb-net,netdev=net0"},
		{"forwarded ports in order", Machine{Arch: "arm64", Kernel: "k", Forward: map[int]int{2222: 22, 1884: 1883}}, "user,id=net0,hostfwd=tcp:127.0.0.1:1884-:1883,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-device,netdev=net0"},
		{"other network", Machine{Arch: "amd64", Kernel: "k", Network: true, UserNet: "net=169.254.0.0/16"}, "-netdev user,id=net0,net=169.254.0.0/16 -device virtio-net-pci"},
		{"product", Machine{Arch: "amd64", Kernel: "k", Product: "OpenStack Nova"}, "-smbios type=1,product=OpenStack Nova"},
		{"clock", Machine{Arch: "arm64", Kernel: "k", RTC: "1970-01-01T00:00:10"}, "-rtc base=1970-01-01T00:00:10"},
		{"no reboot", Machine{Arch: "arm64", Kernel: "k", NoReboot: true}, "-no-reboot"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			args, err := c.machine.Args()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(args, " "); !strings.Contains(got, c.want) {
				t.Errorf("Args:\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestArgsRefuses(t *testing.T) {
	cases := []struct {
		machine Machine
		want    string
	}{
		{Machine{Arch: "riscv64", Kernel: "k"}, `architecture is "riscv64"`},
		{Machine{Arch: "arm64", Board: "q35", Kernel: "k"}, "board q35 is amd64"},
		{Machine{Arch: "arm64", Board: "toaster", Kernel: "k"}, `unknown board "toaster"`},
		{Machine{Arch: "arm64"}, "exactly one of kernel"},
		{Machine{Arch: "arm64", Kernel: "k", Firmware: "f"}, "exactly one of kernel"},
		{Machine{Arch: "arm64", Board: "raspi3b", Kernel: "k", MemoryMiB: 512}, "has 1024 MiB"},
		{Machine{Arch: "arm64", Board: "raspi3b", Kernel: "k", Disks: []Disk{{Path: "a"}}}, "use bus sd"},
	}
	for _, c := range cases {
		if _, err := c.machine.Args(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.machine, err, c.want)
		}
	}
}

func TestMissingQEMUNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, _, err := Find("arm64")
	want := "finding qemu-system-aarch64: it is not in PATH; install it with: apt-get install qemu-system-arm"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
