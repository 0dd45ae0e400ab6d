package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/overlays"
)

// readNamed reads the keyrings and overlays that the profile names. Names are sought beside the
// file that gave them, then among the built-in ones; an overlay's name without a slash is built-in first.
func (l *loader) readNamed(out *Loaded) {
	for i, s := range out.Profile.Apt.Sources {
		at := fmt.Sprintf("apt.sources[%d].keyring", i)
		if s.Keyring != "" {
			out.Keyrings[s.Name] = l.readKeyring(s.Keyring, at, out.Origins[at])
		}
	}
	if img := out.Profile.Base.Image; img != nil && img.Sums != nil && img.Sums.Keyring != "" {
		const at = "base.image.sums.keyring"
		out.Keyrings[ImageKeyring] = l.readKeyring(img.Sums.Keyring, at, out.Origins[at])
	}
	for i, name := range out.Profile.Overlays {
		at := fmt.Sprintf("overlays[%d]", i)
		if name != "" {
			out.Overlays = append(out.Overlays, l.readOverlay(name, at, out.Origins[at]))
		}
	}
}

func (l *loader) readKeyring(name, path string, from Origin) []byte {
	if l.onDisk(from) {
		content, err := os.ReadFile(beside(name, from.File))
		if err == nil {
			return content
		}
		if !errors.Is(err, fs.ErrNotExist) {
			l.fault(from, path, "", "reading keyring %s: %v", name, err)
			return nil
		}
	}
	content, err := fs.ReadFile(l.options.Builtin, name)
	if err != nil {
		known, _ := fs.Glob(l.options.Builtin, "keyrings/*") // the pattern is constant and right
		l.fault(from, path, nearest(name, known), "there is no keyring %s, neither beside this file nor built in", name)
	}
	return content
}

func (l *loader) readOverlay(name, path string, from Origin) overlays.Overlay {
	// Built-in names are plain; fs.ValidPath keeps "../x" away from the embedded files.
	if !strings.ContainsAny(name, `/\`) && fs.ValidPath(name) {
		o, err := overlays.Load(l.options.BuiltinOverlays, name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			l.overlayFault(from, path, err)
			return o
		}
	}
	if l.onDisk(from) {
		dir := beside(name, from.File)
		o, err := overlays.Load(os.DirFS(filepath.Dir(dir)), filepath.Base(dir))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			o.Name = name
			l.overlayFault(from, path, err)
			return o
		}
	}
	known, _ := overlays.Names(l.options.BuiltinOverlays) // a list that can't be read gives no suggestion
	l.fault(from, path, nearest(name, known), "there is no overlay %s, neither beside this file nor built in", name)
	return overlays.Overlay{}
}

func (l *loader) overlayFault(from Origin, path string, err error) {
	if err != nil {
		l.fault(from, path, "", "%v", err)
	}
}

// onDisk tells a person's file from a built-in one, whose name is not a path on this machine.
func (l *loader) onDisk(from Origin) bool {
	if from.Line == 0 {
		return false
	}
	return !l.builtinFile[from.File]
}

func (l *loader) fault(at Origin, path, suggestion, format string, args ...any) {
	l.faults = append(l.faults, Fault{
		File: at.File, Line: at.Line, Column: at.Column,
		Path: path, Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	})
}
