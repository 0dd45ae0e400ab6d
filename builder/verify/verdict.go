package verify

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
)

// Verdict is what a boot has shown. It travels with the image.
type Verdict struct {
	Version int        `json:"version"` // of this format: 1
	Image   string     `json:"image"`   // base name
	Digest  cas.Digest `json:"digest"`  // of the image, the same before and after the boot
	Arch    string     `json:"arch"`
	Board   string     `json:"board"`
	QEMU    string     `json:"qemu"` // version
	Accel   string     `json:"accel"`
	OK      bool       `json:"ok"`
	// Reason says in one line why a verdict is not OK.
	Reason     string      `json:"reason,omitempty"`
	Cmdline    string      `json:"cmdline,omitempty"` // the kernel was started with; empty with UEFI
	Seconds    float64     `json:"seconds"`
	Milestones []Milestone `json:"milestones"`
	Checks     []Result    `json:"checks"`
	// LastLines of the console, when the verdict is not OK.
	LastLines []string `json:"lastLines,omitempty"`
}

// JSON renders the verdict, indented, with a newline at its end.
func (v Verdict) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering verdict: %w", err)
	}
	return append(b, '\n'), nil
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
	Out      string      `xml:"system-out,omitempty"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

// JUnit renders the verdict as JUnit XML: the boot as a whole is one test case, each milestone that
// was reached and each check one more.
func (v Verdict) JUnit() ([]byte, error) {
	s := junitSuite{Name: v.Image + " on " + v.Board, Time: seconds(v.Seconds), Out: strings.Join(v.LastLines, "\n")}
	s.add(junitCase{Class: "boot", Name: "boot", Time: seconds(v.Seconds)}, v.OK || v.Reason == "", v.Reason)
	for _, m := range v.Milestones {
		s.add(junitCase{Class: "milestone", Name: m.Name, Time: seconds(m.Seconds)}, true, "")
	}
	for _, r := range v.Checks {
		s.add(junitCase{Class: "check", Name: r.Name, Out: r.Detail}, r.OK, r.Detail)
	}
	b, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering verdict: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func (s *junitSuite) add(c junitCase, ok bool, detail string) {
	s.Tests++
	if !ok {
		s.Failures++
		c.Failure, c.Out = &junitFailure{Message: detail}, ""
	}
	s.Cases = append(s.Cases, c)
}

func seconds(s float64) string { return fmt.Sprintf("%.1f", s) }

// String is the verdict for people: one line for the whole, one for each milestone and check.
func (v Verdict) String() string {
	var b strings.Builder
	word := map[bool]string{true: "ok", false: "FAILED"}
	fmt.Fprintf(&b, "%s: %s on %s, %.0f s\n", v.Image, word[v.OK], v.Board, v.Seconds)
	for _, m := range v.Milestones {
		fmt.Fprintf(&b, "  %6.1f s  %s\n", m.Seconds, m.Name)
	}
	for _, r := range v.Checks {
		fmt.Fprintf(&b, "  %-8s  %s: %s\n", word[r.OK], r.Name, r.Detail)
	}
	if v.Reason != "" {
		fmt.Fprintf(&b, "  %s\n", v.Reason)
	}
	for _, line := range v.LastLines {
		fmt.Fprintf(&b, "  | %s\n", line)
	}
	return b.String()
}
