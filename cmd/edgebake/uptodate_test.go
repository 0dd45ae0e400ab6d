package main

import (
	"testing"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/verify"
)

func TestRecordIsProved(t *testing.T) {
	for name, test := range map[string]struct {
		verdict *verify.Verdict
		want    bool
	}{
		"never booted":     {nil, false},
		"good":             {&verify.Verdict{OK: true, Digest: "a"}, true},
		"negative":         {&verify.Verdict{Digest: "a"}, false},
		"of another image": {&verify.Verdict{OK: true, Digest: "b"}, false},
	} {
		r := record{Result: builder.Result{Digest: "a"}, Verdict: test.verdict}
		if got := r.proved(); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
