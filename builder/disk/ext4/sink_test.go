package ext4

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// failing is a disk that takes so many writes and then no more.
type failing struct {
	left  int
	cause error
	calls int // after the first that failed
}

func (f *failing) WriteAt(p []byte, _ int64) (int, error) {
	if f.left--; f.left >= 0 {
		return len(p), nil
	}
	f.calls++
	return 0, f.cause
}

// TestWriteFaults lets each write fail in turn: Write says so, ends, and writes no more.
func TestWriteFaults(t *testing.T) {
	tr := mustTree(t, slices.Concat(everything(), manyFiles(2, 4, 2*mib)[1:]))
	for i := 0; ; i++ {
		disk := &failing{left: i, cause: errors.New("no space")}
		err := Write(context.Background(), disk, tr, tree.NewReader(nil), testOptions(128*mib))
		if err == nil {
			if i < 20 {
				t.Errorf("the image needed %d writes only: nothing was tried", i)
			}
			return
		}
		if !errors.Is(err, disk.cause) || disk.calls != 1 {
			t.Fatalf("write %d fails: %v, and %d calls after it", i, err, disk.calls-1)
		}
	}
}

// shortBlob ends after some bytes.
type shortBlob int64

func (n shortBlob) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > int64(n) {
		return 0, errors.New("the blob is damaged")
	}
	return len(p), nil
}

func TestWriteEndsWhenReadingFails(t *testing.T) {
	src := tree.NewReader(nil)
	src.Add("blob", shortBlob(5*mib))
	f := tree.Entry{Path: "f", Type: tree.File, Content: tree.BlobContent(cas.Digest("blob"), 0, 9*mib)}
	tr := mustTree(t, []tree.Entry{dir("."), f})
	disk := &failing{left: 1 << 30}
	if err := Write(context.Background(), disk, tr, src, testOptions(64*mib)); err == nil {
		t.Error("a damaged blob went unseen")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Write(ctx, disk, tr, src, testOptions(64*mib)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
