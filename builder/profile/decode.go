package profile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills a Profile from nodes. It goes on after a fault, so that all are found at once.
type decoder struct {
	faults  []Fault
	origins map[string]Origin
	// known are the faults of variables: a value without its variable is not reported again.
	known []Fault
	// partial leaves out faults about what is missing (abstract profiles).
	partial bool
}

// field is one key of a mapping, as the struct tags say it.
type field struct {
	key      string
	index    int
	required bool
	enum     []string
}

func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := field{index: i}
		f.key, _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		for _, word := range strings.Split(t.Field(i).Tag.Get("jsonschema"), ",") {
			if value, ok := strings.CutPrefix(word, "enum="); ok {
				f.enum = append(f.enum, value)
			}
			f.required = f.required || word == "required"
		}
		out = append(out, f)
	}
	return out
}

func (d *decoder) add(at Origin, path, suggestion, format string, args ...any) {
	if reported(d.known, path) {
		return
	}
	d.faults = append(d.faults, Fault{
		File: at.File, Line: at.Line, Column: at.Column,
		Path: path, Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	})
}

// decode puts n into v, which can be set. enum lists the only texts allowed, if any.
func (d *decoder) decode(n *node, v reflect.Value, path string, enum []string) {
	if n.kind == null {
		return
	}
	d.origins[path] = n.origin
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path, enum)
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Map:
		d.decodeMap(n, v, path)
	case reflect.Slice:
		d.decodeSlice(n, v, path, enum)
	default:
		d.decodeScalar(n, v, path, enum)
	}
}

func (d *decoder) wants(n *node, k kind, path string) bool {
	if n.kind != k {
		d.add(n.origin, path, "", "%s must be %s, and this is %s", path, k, n.kind)
	}
	return n.kind == k
}

func (d *decoder) decodeStruct(n *node, v reflect.Value, path string) {
	if !d.wants(n, mapping, path) {
		return
	}
	fields := fieldsOf(v.Type())
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == e.key })
		if i < 0 {
			d.unknownKey(e, fields, path)
			continue
		}
		d.decode(e.value, v.Field(fields[i].index), join(path, e.key), fields[i].enum)
	}
	for _, f := range fields {
		if value := n.get(f.key); f.required && !d.partial && (value == nil || value.kind == null) {
			d.add(n.origin, join(path, f.key), "", "%s is missing", join(path, f.key))
		}
	}
}

// unknownKey has a special word for passwords: they must never be in an image.
func (d *decoder) unknownKey(e entry, fields []field, path string) {
	lower := strings.ToLower(e.key)
	if strings.Contains(lower, "passw") || strings.Contains(lower, "token") {
		d.add(e.origin, join(path, e.key), "", "%s is refused: one image serves every node, so secrets belong into the seed", join(path, e.key))
		return
	}
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	d.add(e.origin, join(path, e.key), nearest(e.key, keys), "unknown key %q%s", e.key, within(path))
}

func (d *decoder) decodeMap(n *node, v reflect.Value, path string) {
	if !d.wants(n, mapping, path) {
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range n.entries {
		value := reflect.New(v.Type().Elem()).Elem()
		if e.value.kind == null {
			continue
		}
		d.decode(e.value, value, join(path, e.key), nil)
		out.SetMapIndex(reflect.ValueOf(e.key), value)
	}
	v.Set(out)
}

func (d *decoder) decodeSlice(n *node, v reflect.Value, path string, enum []string) {
	if !d.wants(n, sequence, path) {
		return
	}
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == null {
			d.add(item.origin, at, "", "%s is empty", at)
			// The element stays, so that the places of those behind it still fit.
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(item, value, at, enum)
		v.Set(reflect.Append(v, value))
	}
}

func (d *decoder) decodeScalar(n *node, v reflect.Value, path string, enum []string) {
	if !d.wants(n, scalar, path) {
		return
	}
	if v.Type() == reflect.TypeFor[Size]() {
		size, err := ParseSize(n.text)
		if err != nil {
			d.add(n.origin, path, "", "%s: %v", path, err)
		}
		v.SetInt(int64(size))
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.decodeString(n, v, path, enum)
	case reflect.Int:
		number, err := strconv.Atoi(n.text)
		if err != nil {
			d.add(n.origin, path, "", "%s must be a whole number, and this is %q", path, n.text)
		}
		v.SetInt(int64(number))
	case reflect.Bool:
		if n.text != "true" && n.text != "false" {
			d.add(n.origin, path, nearest(n.text, []string{"true", "false"}), "%s must be true or false, and this is %q", path, n.text)
		}
		v.SetBool(n.text == "true")
	}
}

func (d *decoder) decodeString(n *node, v reflect.Value, path string, enum []string) {
	v.SetString(n.text)
	if len(enum) > 0 && !slices.Contains(enum, n.text) {
		d.add(n.origin, path, nearest(n.text, enum), "%s is %q, which is unknown; known: %s", path, n.text, strings.Join(enum, ", "))
	}
}

// reported says whether the value at path, or one around it, has a fault already.
func reported(known []Fault, path string) bool {
	return slices.ContainsFunc(known, func(f Fault) bool {
		rest, ok := strings.CutPrefix(path, f.Path)
		return ok && f.Path != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func within(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}
