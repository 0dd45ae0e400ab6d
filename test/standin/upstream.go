package standin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Upstream is a directory of files by the URLs of their originals: HOST/PATH. It serves them over
// HTTP, so that --mirror https://HOST=SERVER/HOST leads there.
type Upstream struct {
	root string
	// prefixes are scheme and host of all URLs, with what they are mirrored to below the server.
	prefixes map[string]string
	// date is that of the archives' Release files.
	date time.Time
}

// NewUpstream keeps its files in root. date is when its archives were published, which the bakes
// from them get as their epoch.
func NewUpstream(root string, date time.Time) *Upstream {
	return &Upstream{root: root, prefixes: map[string]string{}, date: date.UTC()}
}

// Path returns where the file of a URL is kept, and makes the directory for it.
func (u *Upstream) Path(url string) (string, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	host, _, hasPath := strings.Cut(rest, "/")
	if !ok || !hasPath {
		return "", fmt.Errorf("publishing %q: it is no URL of a file", url)
	}
	u.prefixes[scheme+"://"+host] = host
	name := filepath.Join(u.root, filepath.FromSlash(rest))
	return name, os.MkdirAll(filepath.Dir(name), 0o755)
}

// Put publishes data under a URL.
func (u *Upstream) Put(url string, data []byte) error {
	name, err := u.Path(url)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// Link publishes a file that exists; it must stay where it is.
func (u *Upstream) Link(url, file string) error {
	name, err := u.Path(url)
	if err != nil {
		return err
	}
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	if err := os.Symlink(file, name); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil // the same file was published before: URLs name contents
}

// Sign writes SHA256SUMS and SHA256SUMS.gpg beside the files of these URLs, which are all in one
// directory. The list names other files too, and is signed by unknown keys after key.
func (u *Upstream) Sign(key Key, unknown []Key, urls ...string) error {
	dir := urls[0][:strings.LastIndexByte(urls[0], '/')+1]
	list := otherFiles("ubuntu-preinstalled-server-armhf+raspi.img.xz", "ubuntu-live-server-arm64.iso")
	for _, url := range urls {
		sum, err := u.sum(url)
		if err != nil {
			return err
		}
		list += sumsLine(sum, url)
	}
	signature, err := Detach([]byte(list), append(slices.Clone(unknown), key)...)
	if err != nil {
		return err
	}
	return errors.Join(u.Put(dir+"SHA256SUMS", []byte(list)), u.Put(dir+"SHA256SUMS.gpg", signature))
}

func (u *Upstream) sum(url string) (sum [sha256.Size]byte, err error) {
	name, err := u.Path(url)
	if err != nil {
		return sum, err
	}
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// Serve starts an HTTP server on the loopback interface. The caller closes it.
func (u *Upstream) Serve() *httptest.Server {
	return httptest.NewServer(registry(os.DirFS(u.root)))
}

// Mirrors returns the flags that send edgebake to a server: --mirror, PREFIX=URL, and so on.
func (u *Upstream) Mirrors(server string) []string {
	var flags []string
	for _, prefix := range slices.Sorted(maps.Keys(u.prefixes)) {
		flags = append(flags, "--mirror", prefix+"="+strings.TrimSuffix(server, "/")+"/"+path.Clean(u.prefixes[prefix]))
	}
	return flags
}
