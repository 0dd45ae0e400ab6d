package test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// plotLine is one line of the plot in docs/performance.md.
type plotLine struct {
	name   string
	points []plotPoint
}

type plotPoint struct{ x, y float64 }

// panel is one of the plot's two coordinate systems.
type panel struct {
	title  string
	left   int
	ticks  []float64
	labels []string
	place  func(x float64) float64 // 0 at the left end of the axis, 1 at the right one
	lines  []plotLine
}

// Places in the picture, in pixels.
const (
	plotWidth, plotHeight = 860, 400
	panelWidth            = 340
	panelTop, panelBottom = 50, 300
	plotMost              = 600 // MiB at the top
)

// plotMemory draws, as SVG, how the memory grows with an image's size (lines that are called "N files") and with its
// number of files.
func plotMemory(lines []plotLine) []byte {
	size := panel{title: "by the size of the image in GiB, with 20,000 files", left: 60, ticks: []float64{1, 4, 16, 64}, labels: []string{"1", "4", "16", "64"},
		place: func(x float64) float64 { return math.Log2(x) / 6 }}
	files := panel{title: "by the number of files", left: 490, ticks: []float64{0, 100_000, 200_000},
		labels: []string{"0", "100,000", "200,000"}, place: func(x float64) float64 { return x / 200_000 }}
	for _, l := range lines {
		if strings.HasSuffix(l.name, " files") {
			size.lines = append(size.lines, l)
		} else {
			files.lines = append(files.lines, l)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="10" y="20" font-weight="bold">Most memory of the edgebake process in a bake, MiB</text>`+"\n")
	size.draw(&b)
	files.draw(&b)
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// plotColours are told apart by everybody (Okabe and Ito).
func plotColours() []string { return []string{"#0072b2", "#d55e00", "#009e73"} }

func (p panel) x(x float64) int { return p.left + int(math.Round(p.place(x)*panelWidth)) }

func plotY(mib float64) int {
	return panelBottom - int(math.Round(mib/plotMost*(panelBottom-panelTop)))
}

func (p panel) draw(w io.Writer) {
	for mib := 0; mib <= plotMost; mib += 100 {
		y := plotY(float64(mib))
		fmt.Fprintf(w, `<line x1="%[1]d" y1="%[2]d" x2="%[3]d" y2="%[2]d" stroke="#dddddd"/><text x="%[4]d" y="%[5]d" text-anchor="end">%[6]d</text>`+"\n",
			p.left, y, p.left+panelWidth, p.left-8, y+4, mib)
	}
	for i, at := range p.ticks {
		x := p.x(at)
		fmt.Fprintf(w, `<line x1="%[1]d" y1="%[2]d" x2="%[1]d" y2="%[3]d" stroke="black"/><text x="%[1]d" y="%[4]d" text-anchor="middle">%[5]s</text>`+"\n",
			x, panelBottom, panelBottom+5, panelBottom+20, p.labels[i])
	}
	y := plotY(memoryLimit)
	fmt.Fprintf(w, `<line x1="%[1]d" y1="%[2]d" x2="%[3]d" y2="%[2]d" stroke="black" stroke-dasharray="6 4"/><text x="%[4]d" y="%[5]d">limit: %[6]d</text>`+"\n",
		p.left, y, p.left+panelWidth, p.left+6, y-5, memoryLimit)
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", p.left+panelWidth/2, panelBottom+40, p.title)
	for i, l := range p.lines {
		p.drawLine(w, l, plotColours()[i%len(plotColours())], i)
	}
}

// drawLine draws a line with its marks, and line i of the key.
func (p panel) drawLine(w io.Writer, l plotLine, colour string, i int) {
	var places []string
	for _, at := range l.points {
		places = append(places, fmt.Sprintf("%d,%d", p.x(at.x), plotY(at.y)))
		fmt.Fprintf(w, `<circle cx="%d" cy="%d" r="4" fill="%s"><title>%.0f MiB</title></circle>`+"\n", p.x(at.x), plotY(at.y), colour, at.y)
	}
	fmt.Fprintf(w, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(places, " "), colour)
	y := panelBottom + 60 + 17*i
	fmt.Fprintf(w, `<rect x="%d" y="%d" width="20" height="4" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", p.left, y-6, colour, p.left+28, y, l.name)
}

// TestMemoryPlot looks where the marks are: each in its panel, higher for more memory, and none outside of the picture.
func TestMemoryPlot(t *testing.T) {
	t.Parallel()
	lines := []plotLine{{"20,000 files", []plotPoint{{1, 0}, {64, plotMost}}}, {"in packages", []plotPoint{{0, memoryLimit}}},
		{"in a base", []plotPoint{{200_000, 100}}}, {"in another", nil}}
	var marks []string
	for d := xml.NewDecoder(bytes.NewReader(plotMemory(lines))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		at := map[string]string{}
		for _, a := range e.Attr {
			at[a.Name.Local] = a.Value
			limit := map[string]float64{"x": plotWidth, "x1": plotWidth, "x2": plotWidth, "cx": plotWidth, "y": plotHeight, "y1": plotHeight, "y2": plotHeight, "cy": plotHeight}[a.Name.Local]
			if v, err := strconv.ParseFloat(a.Value, 64); limit > 0 && (err != nil || v < 0 || v > limit) {
				t.Errorf("%s of %s is %s", a.Name.Local, e.Name.Local, a.Value)
			}
		}
		if e.Name.Local == "circle" {
			marks = append(marks, at["cx"]+","+at["cy"])
		}
	}
	if got, want := strings.Join(marks, " "), "60,300 400,50 490,87 830,258"; got != want {
		t.Errorf("marks are at %s, want %s", got, want)
	}
}
