package disk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/profile"
)

// row is a partition as every tool tells it; sectors are of 512 bytes.
type row struct {
	number      int
	start, size int64
	kind, name  string
}

// TestToolsAgreeOnTheTable: what sfdisk, parted and sgdisk read is what was planned.
func TestToolsAgreeOnTheTable(t *testing.T) {
	for table, d := range map[string]profile.Disk{MBR: piDisk(), GPT: pcDisk()} {
		t.Run(table, func(t *testing.T) {
			image, p := assemble(t, d)
			if len(p.Partitions) != len(d.Partitions) {
				t.Fatalf("%d partitions of %d", len(p.Partitions), len(d.Partitions))
			}
			for _, part := range p.Partitions {
				want := row{number: part.Number, start: part.Start / sector, size: part.Size / sector}
				want.kind = map[string]string{Linux: "83", FAT: "c"}[part.Type]
				if table == GPT { // an MBR has no names
					want.name = part.Name
					want.kind = map[string]string{Linux: "0fc63daf-8483-4772-8e79-3d69d8477de4", BIOSBoot: "21686148-6449-6e6f-744e-656564454649",
						ESP: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}[part.Type]
				}
				if want.kind == "" || table == GPT && want.name == "" {
					t.Fatalf("partition %+v has no type or name", part)
				}
				if got := sfdiskRow(t, image, part.Number); got != want {
					t.Errorf("sfdisk: %+v, want %+v", got, want)
				}
				comparePartedRow(t, image, want, part.FS)
				if table == GPT {
					compareSgdisk(t, image, want)
				}
			}
		})
	}
}

func sfdiskRow(t *testing.T, image string, number int) row {
	t.Helper()
	var out struct {
		Table struct {
			Partitions []struct {
				Node, Type, Name string
				Start, Size      int64
			} `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(run(t, "sfdisk", "--json", image)), &out); err != nil {
		t.Fatal(err)
	}
	for _, p := range out.Table.Partitions {
		if p.Node == fmt.Sprintf("%s%d", image, number) {
			return row{number, p.Start, p.Size, strings.ToLower(p.Type), p.Name}
		}
	}
	return row{}
}

// comparePartedRow reads "number:first:last:size:file system:name:flags;". parted tells the type by its flags.
func comparePartedRow(t *testing.T, image string, want row, fs string) {
	t.Helper()
	system := map[string]string{VFAT: "fat", Ext4: "ext4", None: ""}[fs]
	begin := fmt.Sprintf("%d:%ds:%ds:%ds:%s", want.number, want.start, want.start+want.size-1, want.size, system)
	flag := map[string]string{"c": "boot, lba", "21686148-6449-6e6f-744e-656564454649": "bios_grub", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "boot, esp"}[want.kind]
	end := ":" + want.name + ":" + flag + ";"
	out := run(t, "parted", "-s", "-m", image, "unit", "s", "print")
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, begin) && strings.HasSuffix(line, end) {
			return
		}
	}
	t.Errorf("parted has no line %s...%s:\n%s", begin, end, out)
}

func compareSgdisk(t *testing.T, image string, want row) {
	t.Helper()
	out := run(t, "sgdisk", fmt.Sprintf("--info=%d", want.number), image)
	for _, line := range []string{
		"Partition GUID code: " + strings.ToUpper(want.kind), fmt.Sprintf("First sector: %d ", want.start),
		fmt.Sprintf("Last sector: %d ", want.start+want.size-1), fmt.Sprintf("Partition size: %d sectors", want.size),
		fmt.Sprintf("Partition name: '%s'", want.name),
	} {
		if !strings.Contains(out, line) {
			t.Errorf("sgdisk does not say %q:\n%s", line, out)
		}
	}
}
