package artifact

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/edgebake/edgebake/builder/cas"
)

// Stand is how a file of a set was left: enough to see without reading it whether somebody has touched it since.
type Stand struct {
	Artifact
	// Device and Inode, and the times of its last changes of bytes and of the inode in nanoseconds since 1970:
	// the first can be set at will, the second can't.
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	MTime  int64  `json:"mtime"`
	CTime  int64  `json:"ctime"`
}

// Standing is how a set was left. What was written is in the system's memory at first: Boot is the boot in
// which that can be relied on. After another one, perhaps after a power cut, only the bytes tell.
type Standing struct {
	Boot  string  `json:"boot"`
	Files []Stand `json:"files"`
}

// Stands notes how those of the names stand that are in dir. Digests that are known, by name, are taken
// over; other files are read.
func Stands(ctx context.Context, dir string, names []string, known map[string]cas.Digest) (Standing, error) {
	s := Standing{Boot: bootID()}
	for _, name := range names {
		path := filepath.Join(dir, name)
		f, err := standOf(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return s, err
		}
		if f.SHA256 = known[name]; f.SHA256 == "" {
			if f.Artifact, err = HashFile(ctx, path); err != nil {
				return s, err
			}
		}
		s.Files = append(s.Files, f)
	}
	return s, nil
}

// standOf leaves out the digest.
func standOf(path string) (Stand, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Stand{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return Stand{}, fmt.Errorf("examining %s: it is no plain file", path)
	}
	return Stand{Artifact: Artifact{Name: filepath.Base(path), Size: info.Size()}, Device: st.Dev, Inode: st.Ino,
		MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano()}, nil
}

// bootID is another one after each start of the machine; empty when the system does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Untouched compares every file in dir with how it was left, and returns how the set stands now. The error
// says what was touched. After another boot of the machine the files are read.
func (s Standing) Untouched(ctx context.Context, dir string) (Standing, error) {
	now := Standing{Boot: bootID()}
	same := now.Boot != "" && s.Boot == now.Boot
	for _, want := range s.Files {
		path := filepath.Join(dir, want.Name)
		got, err := standOf(path)
		if err != nil {
			return s, err
		}
		if same {
			got.SHA256 = want.SHA256
		} else if got.Artifact, err = HashFile(ctx, path); err != nil {
			return s, err
		}
		now.Files = append(now.Files, got)
		if !same { // a disk may have another number
			want.Device = got.Device
		}
		if got != want {
			return s, fmt.Errorf("%s was touched since it was made", path)
		}
	}
	return now, nil
}
