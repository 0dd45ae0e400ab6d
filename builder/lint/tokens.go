package lint

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"path"
	goruntime "runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/tree"
)

// A token for joining KubeEdge is the SHA-256 of a certificate in 64 digits, a dot, and a JSON web
// token: three parts in base64url (KubeEdge 1.8, cloud/pkg/cloudhub/servers/httpserver). It is
// searched in every byte of every file, because nobody knows where a first boot leaves it: in the
// pickles and MIME parts of cloud-init, in journals, in edgecore.yaml, on the FAT.
const (
	tokenSign = ".eyJ" // the dot, and {" in base64
	hashSize  = 64
	// The least that the parts have: {"alg":…}, {"exp":…} and a signature of 128 bits.
	minHeader, minClaims, minSignature = 12, 8, 22
	// maxToken bounds a token; real ones have 250 characters.
	maxToken = 4 << 10
	// window is what is searched at a time. Memory is two of them for each core.
	window = 1 << 20
)

// hasToken reports whether b holds a token. last says that nothing comes behind b: then a token may end with it.
func hasToken(b []byte, last bool) bool {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(tokenSign))
		if i < 0 {
			return false
		}
		at := from + i
		if !last && len(b)-at < maxToken {
			return false // it is looked at again in the next window
		}
		if at >= hashSize && all(b[at-hashSize:at], hexDigit) && webToken(b[at+1:min(len(b), at+maxToken)]) {
			return true
		}
		from = at + len(tokenSign)
	}
}

// webToken reports whether b begins with three parts of base64url with dots between.
func webToken(b []byte) bool {
	for i, least := range []int{minHeader, minClaims, minSignature} {
		n := 0
		for n < len(b) && base64URL(b[n]) {
			n++
		}
		if n < least || i < 2 && (n == len(b) || b[n] != '.') {
			return false
		}
		b = b[min(n+1, len(b)):]
	}
	return true
}

func all(b []byte, is func(byte) bool) bool {
	for _, c := range b {
		if !is(c) {
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func base64URL(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func base64Plain(c byte) bool { return base64URL(c) && c != '-' && c != '_' || c == '+' || c == '/' }

// wrapped finds tokens in base64, as cloud-init packs parts of user data (user-data.txt.i) and
// write_files takes contents, with line breaks anywhere.
type wrapped struct {
	needles [3]string // how the beginning of a token looks, one for each place in a group of three bytes
	phase   [3]int    // place of the needle's first character in a group of four
}

func newWrapped() (w wrapped) {
	// The header's first field is alg, which Go's encoder and all others write first.
	sign := tokenSign + "hbGciOi"
	for shift := range w.needles {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + sign))
		first, end := (shift*8+5)/6, (shift+len(sign))*8/6 // whole characters of sign alone
		w.needles[shift], w.phase[shift] = text[first:end], first%4
	}
	return w
}

// hasToken searches b, and b without its line breaks.
func (w wrapped) hasToken(b []byte) bool {
	flat := b
	if bytes.IndexByte(b, '\n') >= 0 {
		flat = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\n"), nil), []byte("\r"), nil)
	}
	for i, needle := range w.needles {
		for from := 0; ; {
			at := bytes.Index(flat[from:], []byte(needle))
			if at < 0 {
				break
			}
			if at += from; w.decoded(flat, at, w.phase[i]) {
				return true
			}
			from = at + len(needle)
		}
	}
	return false
}

// decoded decodes what is around b[at], which has the given place in its group.
func (w wrapped) decoded(b []byte, at, phase int) bool {
	start, end := at, at
	for start > 0 && at-start < maxToken && base64Plain(b[start-1]) {
		start--
	}
	for end < len(b) && end-at < 2*maxToken && base64Plain(b[end]) {
		end++
	}
	start += ((at-start-phase)%4 + 4) % 4
	if start > at {
		return false
	}
	text := b[start : start+(end-start)/4*4]
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, _ := base64.StdEncoding.Decode(out, text) // what comes before the first fault is what is there
	return hasToken(out[:n], true)
}

// searcher looks for tokens in streams. It is not safe for concurrent use.
type searcher struct {
	buf []byte
	wrapped
}

func newSearcher() *searcher {
	return &searcher{buf: make([]byte, window+maxToken), wrapped: newWrapped()}
}

// search reads r to its end, or to the first token. deep looks into base64 as well.
func (f *searcher) search(r io.Reader, deep bool) (found bool, err error) {
	kept := 0
	for {
		n, err := io.ReadFull(r, f.buf[kept:])
		have, last := f.buf[:kept+n], err != nil
		if last && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return false, err
		}
		if hasToken(have, last) || deep && f.hasToken(have) {
			return true, nil
		}
		if last {
			return false, nil
		}
		// A token that is cut by the window's end, with its hash in front of it.
		kept = copy(f.buf, have[len(have)-maxToken-hashSize:])
	}
}

// checkTokens searches all files of all partitions, on all cores.
func checkTokens(s *system) []Finding {
	files := s.allFiles()
	faults := make([]error, len(files))
	hits := make([]bool, len(files))
	searchers := sync.Pool{New: func() any { return newSearcher() }}
	g, ctx := errgroup.WithContext(s.ctx)
	g.SetLimit(goruntime.GOMAXPROCS(0))
	for i := range files {
		g.Go(func() error {
			f := searchers.Get().(*searcher)
			defer searchers.Put(f)
			hits[i], faults[i] = f.file(ctx, s.src, files[i])
			return faults[i]
		})
	}
	if err := g.Wait(); err != nil {
		s.failFirst(files, faults, err)
		return nil
	}
	var found []Finding
	for i, hit := range hits {
		if hit {
			found = append(found, fault(files[i].shown, seedFix+"; it is valid for 24 hours, and whoever has it becomes a node", "it holds a token for joining KubeEdge"))
		}
	}
	return found
}

func (s *system) failFirst(files []anyFile, faults []error, err error) {
	for i := range faults {
		if errors.Is(faults[i], err) {
			s.fail(strings.TrimPrefix(files[i].shown, "/"), err)
			return
		}
	}
	s.fail("", err)
}

// anyFile is a file of a partition, mounted or not.
type anyFile struct {
	entry tree.Entry
	shown string
	// packed says that it may hold texts in other forms: what packages bring does not.
	packed bool
}

// allFiles lists every inode once.
func (s *system) allFiles() []anyFile {
	var out []anyFile
	for _, p := range s.partitions {
		t := s.trees[p.Number]
		dir := s.mountedAt(p.Number)
		for i := range t.Len() {
			e := t.At(i)
			if e.Type != tree.File || e.Content.Size == 0 {
				continue
			}
			shown := fatTree{partition: p, dir: dir}.path(e.Path)
			if dir == "." {
				shown = "/" + e.Path
			}
			top, _, _ := strings.Cut(path.Join(dir, e.Path), "/")
			out = append(out, anyFile{e, shown, top != "usr" && top != "lib" && top != "bin" && top != "sbin"})
		}
	}
	return out
}

// file searches one file as it is, and what is packed in it.
func (f *searcher) file(ctx context.Context, src *tree.Reader, a anyFile) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r, err := src.Open(a.entry.Content)
	if err != nil {
		return false, err
	}
	found, err := f.search(r, a.packed)
	if found || err != nil || !a.packed {
		return found, err
	}
	if r, err = src.Open(a.entry.Content); err != nil {
		return false, err
	}
	return f.inside(r), nil
}

// inside searches journals and compressed logs. What cannot be unpacked holds nothing that can be found.
func (f *searcher) inside(r io.Reader) bool {
	head := make([]byte, 8)
	n, _ := io.ReadFull(r, head)
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	switch {
	case string(head) == journalMagic:
		return f.journal(r)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		if err != nil {
			return false
		}
		r = z
	default:
		return false
	}
	found, _ := f.search(io.LimitReader(r, maxUnpacked), true)
	return found
}

// maxUnpacked bounds what a compressed file or field may grow to: logs are rotated long before.
const maxUnpacked = 256 << 20
