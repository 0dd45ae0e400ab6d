package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	tests := map[string]struct {
		events string
		want   totals
		shows  string
	}{
		"subtests count, their parent does not": {
			`{"Action":"run","Package":"p","Test":"A"}
{"Action":"run","Package":"p","Test":"A/x"}
{"Action":"run","Package":"p","Test":"A/y"}
{"Action":"pass","Package":"p","Test":"A/x"}
{"Action":"skip","Package":"p","Test":"A/y"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Elapsed":1.5}`,
			totals{passed: 1, skipped: 1}, "pass p 1.5s",
		},
		"a failure shows its output": {
			`{"Action":"run","Package":"p","Test":"B"}
{"Action":"output","Package":"p","Test":"B","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"B"}
{"Action":"fail","Package":"p"}`,
			totals{failed: 1, endings: "\nFAILED: p B\n  got 1, want 2\n"}, "got 1, want 2",
		},
		"a package that does not build is one failure": {
			`{"Action":"build-output","ImportPath":"p","Output":"undefined: x\n"}
{"Action":"output","Package":"p","Output":"FAIL p [build failed]\n"}
{"Action":"fail","Package":"p"}`,
			totals{failed: 1, endings: "\nFAILED: p\n  FAIL p [build failed]\n"}, "undefined: x",
		},
		"a test without an end is a failure": {
			`{"Action":"run","Package":"p","Test":"C"}
{"Action":"output","Package":"p","Test":"C","Output":"panic: test timed out after 1s\n"}
{"Action":"output","Package":"p","Test":"C","Output":"\trunning tests:\n"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p"}`,
			totals{failed: 1, endings: "\nFAILED: p C\n  panic: test timed out after 1s\n  \trunning tests:\n  (has not ended)\n"}, "panic: test timed out",
		},
		"other lines are shown": {"go: downloading x", totals{}, "go: downloading x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			got, err := count(strings.NewReader(test.events), &out)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
			if !strings.Contains(out.String(), test.shows) {
				t.Errorf("output lacks %q:\n%s", test.shows, out.String())
			}
		})
	}
}
