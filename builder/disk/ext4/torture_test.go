package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// torture is a tree of total entries with all that a file system may hold; many of them are in one
// directory. Contents are in src.
func torture(src *tree.Reader, many, total int) []tree.Entry {
	data := pattern(4 * mib)
	blob := cas.Of(data)
	src.Add(blob, bytes.NewReader(data))
	es := []tree.Entry{dir(".")}
	for _, part := range [][]tree.Entry{everyMode(), owners(), times(), oddNames(), manyNames(many), symlinks(), devices(), attributes(), lists(),
		sizes(blob), holes(blob), deep(), links()} {
		es = append(es, part...)
	}
	for i := 0; len(es) < total; i++ {
		if i%30 == 0 {
			es = append(es, dir(fmt.Sprintf("fill-%04d", i/30)))
			continue
		}
		f := file(fmt.Sprintf("fill-%04d/f%d", i/30, i), nil)
		f.Content = tree.BlobContent(blob, int64(i)%mib, int64(i*37%5000))
		es = append(es, f)
	}
	return es
}

func everyMode() []tree.Entry {
	es := []tree.Entry{dir("files"), dir("dirs")}
	for mode := range uint32(0o10000) {
		f, d := file(fmt.Sprintf("files/%04o", mode), nil), dir(fmt.Sprintf("dirs/%04o", mode))
		f.Mode, d.Mode = mode, mode
		es = append(es, f, d)
	}
	return es
}

func owners() []tree.Entry {
	es := []tree.Entry{dir("owners")}
	ids := []uint32{0, 1, 1000, 32767, 32768, 65534, 65535, 65536, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 2}
	for _, uid := range ids {
		for _, gid := range ids {
			f := file(fmt.Sprintf("owners/%d.%d", uid, gid), []byte("x"))
			f.UID, f.GID, f.Mode = uid, gid, 0o4750
			es = append(es, f)
		}
	}
	return es
}

// times are those at the borders of 32 bits with and without an epoch, in 1901, before 1970 and in 2446.
func times() []tree.Entry {
	es := []tree.Entry{dir("times")}
	for i, sec := range []int64{-1 << 31, -1<<31 + 1, -86400, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<33 + 5, 3<<32 + 1<<31 - 1} {
		for j, nsec := range []uint32{0, 1, 500000000, 999999999} {
			d, f := dir(fmt.Sprintf("times/d%d.%d", i, j)), file(fmt.Sprintf("times/f%d.%d", i, j), []byte("x"))
			l := tree.Entry{Path: fmt.Sprintf("times/l%d.%d", i, j), Type: tree.Symlink, Mode: 0o777, Link: "x"}
			d.MTime, f.MTime, l.MTime = tree.Time{Sec: sec, Nsec: nsec}, tree.Time{Sec: sec, Nsec: nsec}, tree.Time{Sec: sec, Nsec: nsec}
			es = append(es, d, f, l)
		}
	}
	return es
}

// oddNames has each byte that a name may hold, alone and between others, and each length.
func oddNames() []tree.Entry {
	es := []tree.Entry{dir("names"), dir("lengths")}
	for b := 1; b < 256; b++ {
		if b == '/' {
			continue
		}
		if b != '.' {
			es = append(es, file("names/"+string([]byte{byte(b)}), nil))
		}
		es = append(es, file("names/\xff"+string([]byte{byte(b), 0xC3, byte(b)}), []byte{byte(b)}))
	}
	for n := 1; n <= maxNameBytes; n++ {
		es = append(es, file("lengths/"+strings.Repeat("\xE4", n), nil))
	}
	return es
}

// manyNames are in one directory: names of different lengths, half of them long and not UTF-8.
func manyNames(n int) []tree.Entry {
	es := []tree.Entry{dir("many")}
	for i := range n {
		p := fmt.Sprintf("many/%x", i)
		if i%2 == 1 {
			p = fmt.Sprintf("many/\xE9t\xE9-%0*d", 20+i%100, i)
		}
		switch i % 5 {
		case 0:
			es = append(es, tree.Entry{Path: p, Type: tree.Symlink, Mode: 0o777, MTime: when, Link: p})
		case 1:
			es = append(es, tree.Entry{Path: p, Type: tree.Fifo, Mode: 0o600, MTime: when})
		default:
			es = append(es, file(p, []byte(p)[:i%5*i%len(p)]))
		}
	}
	return es
}

// symlinks of all lengths up to 300, which has those in the inode, and up to the longest.
func symlinks() []tree.Entry {
	es := []tree.Entry{dir("symlinks")}
	for n := 1; n <= maxSymlink; n++ {
		if n > 300 && n%173 != 0 && n < maxSymlink-1 {
			continue
		}
		es = append(es, tree.Entry{Path: fmt.Sprintf("symlinks/%d", n), Type: tree.Symlink, Mode: 0o777, MTime: when,
			Link: strings.Repeat("\xFCber/", n/5+1)[:n]})
	}
	return es
}

func devices() []tree.Entry {
	es := []tree.Entry{dir("devices"),
		{Path: "devices/fifo", Type: tree.Fifo, Mode: 0o620, MTime: when, UID: 70000},
		{Path: "devices/socket", Type: tree.Socket, Mode: 0o775, MTime: when, GID: 70000}}
	for _, major := range []uint32{0, 1, 8, 255, 256, 259, 4095} {
		for _, minor := range []uint32{0, 3, 255, 256, 65536, 1<<20 - 1} {
			p := fmt.Sprintf("devices/%d.%d", major, minor)
			es = append(es, tree.Entry{Path: p + "c", Type: tree.CharDevice, Mode: 0o666, MTime: when, Major: major, Minor: minor},
				tree.Entry{Path: p + "b", Type: tree.BlockDevice, Mode: 0o660, MTime: when, Major: major, Minor: minor})
		}
	}
	return es
}

// attributes are on files, directories, links and devices: few and many, of no byte up to what a block holds.
func attributes() []tree.Entry {
	es := []tree.Entry{dir("attrs")}
	for i := range 200 {
		f := file(fmt.Sprintf("attrs/size%d", i), pattern(i*9))
		f.Xattrs = []tree.Xattr{{Name: "user.n", Value: pattern(i * 19)}}
		g := file(fmt.Sprintf("attrs/count%d", i), nil)
		for k := range i % 40 {
			g.Xattrs = append(g.Xattrs, tree.Xattr{Name: fmt.Sprintf("%s.k%02d", []string{"security", "trusted", "user"}[k*3/40], k), Value: pattern(k * i % 70)})
		}
		es = append(es, f, g)
	}
	name := file("attrs/name", nil)
	name.Xattrs = []tree.Xattr{{Name: "user." + strings.Repeat("\xF6", 250), Value: []byte("v")}}
	link := tree.Entry{Path: "attrs/link", Type: tree.Symlink, Mode: 0o777, MTime: when, Link: "name", Xattrs: []tree.Xattr{{Name: "trusted.l", Value: []byte("1")}}}
	device := tree.Entry{Path: "attrs/device", Type: tree.CharDevice, Mode: 0o600, MTime: when, Major: 5, Minor: 1, Xattrs: []tree.Xattr{{Name: "security.d", Value: []byte("2")}}}
	capable := file("attrs/capable", pattern(9000))
	capable.Mode = 0o755
	capable.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}}
	sub := dir("attrs/dir")
	sub.Xattrs = []tree.Xattr{{Name: "trusted.overlay.opaque", Value: []byte("y")}, {Name: "user.empty", Value: []byte{}}}
	return append(es, name, link, device, capable, sub)
}

// lists have access control lists of different lengths; the longest needs a block.
func lists() []tree.Entry {
	es := []tree.Entry{dir("acl")}
	for i := range 120 {
		f, d := file(fmt.Sprintf("acl/f%d", i), []byte("x")), dir(fmt.Sprintf("acl/d%d", i))
		f.Mode, d.Mode = 0o670, 0o750
		f.Xattrs = []tree.Xattr{{Name: aclAccess, Value: accessList(i)}}
		d.Xattrs = []tree.Xattr{{Name: aclDefault, Value: accessList(i)}}
		es = append(es, f, d)
	}
	return es
}

// accessList gives rw- to the owner, r-x to n users, and a mask of rwx.
func accessList(n int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, aclUserVersion)
	add := func(tag, perm uint16, id uint32) {
		b = le.AppendUint32(le.AppendUint16(le.AppendUint16(b, tag), perm), id)
	}
	add(1, 6, 1<<32-1)
	for i := range n {
		add(aclNamedUser, 5, uint32(1000+i*777))
	}
	add(4, 4, 1<<32-1)
	add(aclNamedGroup, 6, 70000)
	add(16, 7, 1<<32-1)
	add(32, 0, 1<<32-1)
	return b
}

// sizes are around what an inode, a block and a large write hold.
func sizes(blob cas.Digest) []tree.Entry {
	es := []tree.Entry{dir("sizes")}
	add := func(n int64) {
		f := file(fmt.Sprintf("sizes/%d", n), nil)
		f.Content = tree.BlobContent(blob, n%97, n)
		es = append(es, f)
	}
	for n := range int64(200) {
		add(n)
	}
	for _, n := range []int64{1 << 12, 2 << 12, 12 << 12, 13 << 12, 1 << 16, 1 << 20, 3 << 20} {
		add(n - 1)
		add(n)
		add(n + 1)
	}
	return es
}

// holes are sparse files: up to 6 GiB, all of it a hole, with many fragments, and with data at the very end.
func holes(blob cas.Digest) []tree.Entry {
	es := []tree.Entry{dir("holes")}
	add := func(name string, extents ...tree.Extent) {
		f := file("holes/"+name, nil)
		f.Content.Extents = extents
		for _, e := range extents {
			f.Content.Size += e.Length
		}
		es = append(es, f)
	}
	const gib = 1 << 30
	add("all", tree.Extent{Length: 3*gib + 1})
	add("end", tree.Extent{Length: 6*gib - 10}, tree.Extent{Blob: blob, Length: 10})
	add("start", tree.Extent{Blob: blob, Offset: 5, Length: 5000}, tree.Extent{Length: 5 * gib})
	add("middle", tree.Extent{Length: 2*gib + 4095}, tree.Extent{Blob: blob, Length: 3 * mib}, tree.Extent{Length: 3 * gib})
	var fragments []tree.Extent
	for i := range int64(3000) {
		fragments = append(fragments, tree.Extent{Length: 4096 * (1 + i%3)}, tree.Extent{Blob: blob, Offset: i * 111, Length: 4096})
	}
	add("fragments", fragments...)
	return es
}

// deep goes down as far as a path may be long.
func deep() []tree.Entry {
	es := []tree.Entry{dir("deep")}
	p := "deep"
	for i := range 110 {
		p = fmt.Sprintf("%s/%030d", p, i)
		es = append(es, dir(p))
	}
	return append(es, file(p+"/bottom", []byte("here")))
}

// links are hard links to a file with attributes and to a device.
func links() []tree.Entry {
	es := []tree.Entry{dir("links"), dir("links/dir")}
	for i := range 500 {
		es = append(es, tree.Entry{Path: fmt.Sprintf("links/dir/%d", i), Type: tree.Hardlink, Link: "attrs/size100"})
	}
	return append(es, tree.Entry{Path: "links/device", Type: tree.Hardlink, Link: "devices/8.3b"})
}

// TestTorture takes the tree through the writer, e2fsck and the reader, and then lets the kernel read it.
func TestTorture(t *testing.T) {
	src := tree.NewReader(nil)
	want := mustTree(t, torture(src, 60000, 100000))
	o := testOptions(1500 * mib)
	o.BytesPerInode = 8192
	image := writeImage(t, want, src, o)
	fsck(t, image)
	_, got, gotSrc := readImage(t, image)
	small := mustTree(t, withoutLarge(want.Entries()))
	if want.Len() < 100000 || want.Len()-small.Len() > 10 || got.Len() != want.Len()+1 {
		t.Fatalf("%d entries were written, %d of them not large, and %d read", want.Len(), small.Len(), got.Len())
	}
	t.Run("reader", func(t *testing.T) {
		sameTrees(t, mustTree(t, withoutLarge(got.Entries())), small, gotSrc, src)
	})
	t.Run("kernel", func(t *testing.T) {
		mnt := mount(t, image, "ro")
		sameAsMounted(t, mnt, withLostAndFound(t, want, o), src)
	})
}

// withoutLarge leaves out the files that are too large to be held in memory.
func withoutLarge(es []tree.Entry) (out []tree.Entry) {
	for _, e := range es {
		if e.Content.Size < 1<<30 {
			out = append(out, e)
		}
	}
	return out
}

func withLostAndFound(t *testing.T, tr tree.Tree, o Options) tree.Tree {
	t.Helper()
	return mustTree(t, append(tr.Entries(), missing(tr, o)...))
}
