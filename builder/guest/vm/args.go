package vm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// DefaultTBSizeMiB holds the translated code of a whole Debian userland, so that TCG does not
// have to throw everything away and start over, which it does when the buffer is full.
const DefaultTBSizeMiB = 512

// defaultMemoryMiB lets the guest keep a small image in its page cache.
const defaultMemoryMiB = 1024

// board says what is fixed about one of QEMU's machines.
type board struct {
	arch, cpu    string
	cpus, memory int    // when not zero, the machine accepts only these
	device       string // block device driver, "" when the machine has no virtio
	network      string // network device driver
}

func boardOf(name string) (board, bool) {
	boards := map[string]board{
		"virt":    {arch: "arm64", cpu: tcgARM64, device: "virtio-blk-device", network: "virtio-net-device"},
		"raspi3b": {arch: "arm64", cpus: 4, memory: 1024, network: "usb-net"},
		"raspi4b": {arch: "arm64", cpus: 4, memory: 2048, network: "usb-net"},
		"q35":     {arch: "amd64", cpu: "max", device: "virtio-blk-pci", network: "virtio-net-pci"},
		"pc":      {arch: "amd64", cpu: "max", device: "virtio-blk-pci", network: "virtio-net-pci"},
	}
	b, ok := boards[name]
	return b, ok
}

// Args returns QEMU's arguments, without the binary. It reads nothing and changes nothing: with
// Firmware set, FirmwareVars must already be the throw-away copy (Start sees to that).
func (m Machine) Args() ([]string, error) {
	b, err := m.board()
	if err != nil {
		return nil, err
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio"}
	args = append(args, m.coreArgs(b)...)
	boot, err := m.bootArgs()
	if err != nil {
		return nil, err
	}
	args = append(args, boot...)
	for i, d := range m.Disks {
		disk, err := d.args(i, b)
		if err != nil {
			return nil, err
		}
		args = append(args, disk...)
	}
	args = append(args, m.networkArgs(b)...)
	if m.Product != "" {
		args = append(args, "-smbios", "type=1,product="+escape(m.Product))
	}
	if m.RTC != "" {
		args = append(args, "-rtc", "base="+m.RTC)
	}
	if m.NoReboot {
		args = append(args, "-no-reboot")
	}
	return args, nil
}

// tcgARM64 is everything but what costs time and gives Debian nothing: the kernel uses pointer
// authentication in every function, and under TCG each use is a call.
const tcgARM64 = "max,pauth=off,sve=off"

// boardName is Board or the architecture's default.
func (m Machine) boardName() string {
	switch {
	case m.Board != "":
		return m.Board
	case m.Arch == "amd64":
		return "q35"
	}
	return "virt"
}

func (m Machine) board() (board, error) {
	if m.Arch != "arm64" && m.Arch != "amd64" {
		return board{}, fmt.Errorf("describing machine: architecture is %q, not arm64 or amd64", m.Arch)
	}
	b, ok := boardOf(m.boardName())
	switch {
	case !ok:
		return b, fmt.Errorf("describing machine: unknown board %q (virt, raspi3b, raspi4b, q35, pc)", m.Board)
	case b.arch != m.Arch:
		return b, fmt.Errorf("describing machine: board %s is %s, but the architecture is %s", m.Board, b.arch, m.Arch)
	case b.cpus != 0 && m.CPUs != 0 && m.CPUs != b.cpus:
		return b, fmt.Errorf("describing machine: board %s has %d CPUs, not %d", m.Board, b.cpus, m.CPUs)
	case b.memory != 0 && m.MemoryMiB != 0 && m.MemoryMiB != b.memory:
		return b, fmt.Errorf("describing machine: board %s has %d MiB of memory, not %d", m.Board, b.memory, m.MemoryMiB)
	}
	return b, nil
}

func (m Machine) coreArgs(b board) []string {
	args := []string{"-machine", m.boardName(), "-accel", m.accel()}
	cpu := first(m.CPU, b.cpu)
	if m.Accel == "kvm" && m.CPU == "" {
		cpu = "host"
	}
	if cpu != "" {
		args = append(args, "-cpu", cpu)
	}
	cpus := max(m.CPUs, b.cpus, 1)
	memory := max(m.MemoryMiB, b.memory)
	if memory == 0 {
		memory = defaultMemoryMiB
	}
	return append(args, "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory)+"M")
}

func (m Machine) accel() string {
	if m.Accel == "kvm" {
		return "kvm"
	}
	size := m.TBSizeMiB
	if size == 0 {
		size = DefaultTBSizeMiB
	}
	return fmt.Sprintf("tcg,thread=%s,tb-size=%d", m.threads(), size)
}

// threads is single for the Raspberry Pi's boards: with a thread for each processor QEMU 7.2's
// model of their interrupt controller loses interrupts, and the machine then sleeps for ever.
func (m Machine) threads() string {
	if strings.HasPrefix(m.Board, "raspi") {
		return "single"
	}
	return "multi"
}

func (m Machine) bootArgs() ([]string, error) {
	switch {
	case m.boot != "":
		return []string{"-drive", "if=ide,format=raw,file=" + escape(m.boot)}, nil
	case m.BIOS && m.Arch == "amd64" && m.Kernel == "" && m.Firmware == "":
		return nil, nil
	case m.BIOS || (m.Kernel == "") == (m.Firmware == ""):
		return nil, fmt.Errorf("describing machine: exactly one of kernel (%q), firmware (%q) and BIOS (%v, amd64 only) must be given", m.Kernel, m.Firmware, m.BIOS)
	case m.Firmware != "":
		args := []string{"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + escape(m.Firmware)}
		if m.FirmwareVars != "" {
			args = append(args, "-drive", "if=pflash,format=raw,unit=1,file="+escape(m.FirmwareVars))
		}
		return args, nil
	}
	args := []string{"-kernel", m.Kernel}
	for _, option := range [][2]string{{"-initrd", m.Initrd}, {"-dtb", m.DTB}, {"-append", m.Cmdline}} {
		if option[1] != "" {
			args = append(args, option[0], option[1])
		}
	}
	return args, nil
}

func (d Disk) args(i int, b board) ([]string, error) {
	options := []string{"format=" + first(d.Format, "raw"), "file=" + escape(d.Path)}
	if d.Unsafe {
		options = append(options, "cache=unsafe")
	}
	if d.Snapshot {
		options = append(options, "snapshot=on")
	}
	if d.ReadOnly {
		options = append(options, "readonly=on")
	}
	bus := first(d.Bus, "virtio")
	switch {
	case bus == "sd":
		return []string{"-drive", "if=sd," + strings.Join(options, ",")}, nil
	case bus != "virtio":
		return nil, fmt.Errorf("describing machine: disk %s is on bus %q, not virtio or sd", d.Path, d.Bus)
	case b.device == "":
		return nil, fmt.Errorf("describing machine: disk %s: this board has no virtio; use bus sd", d.Path)
	}
	id := "disk" + strconv.Itoa(i)
	device := b.device + ",drive=" + id
	if d.Serial != "" {
		device += ",serial=" + escape(d.Serial)
	}
	if !d.ReadOnly { // otherwise QEMU stops the machine for good when the host's disk is full
		options = append(options, "werror=report")
	}
	return []string{"-drive", "if=none,id=" + id + "," + strings.Join(options, ","), "-device", device}, nil
}

func (m Machine) networkArgs(b board) []string {
	if !m.Network && m.Forward == nil {
		return nil
	}
	netdev := "user,id=net0"
	for _, host := range slices.Sorted(maps.Keys(m.Forward)) {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, m.Forward[host])
	}
	if m.UserNet != "" {
		netdev += "," + m.UserNet
	}
	return []string{"-netdev", netdev, "-device", b.network + ",netdev=net0"}
}

// escape doubles the commas, which end an option's value on QEMU's command line.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
