package test

// plotLine is one line of the plot.
type plotLine struct {
	name   string
	points []plotPoint
}

type plotPoint struct{ x, y float64 }

func plotMemory(lines []plotLine) []byte { return nil }
