package inventory

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

func (r *reader) readCSV(text []byte) {
	if !utf8.Valid(text) {
		r.fault(Fault{Message: "it is not UTF-8: save it as \"CSV UTF-8\"; a spreadsheet's own format (.xlsx, .ods) is not read"})
		return
	}
	in := csv.NewReader(bytes.NewReader(text))
	in.Comma, in.Comment, in.FieldsPerRecord = separator(text), '#', -1
	header, err := in.Read()
	if err != nil {
		r.csvFault(err, 1)
		return
	}
	names := r.header(in, header)
	for number := 2; ; number++ {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.csvFault(err, number)
			return // what follows a broken quote is not in its columns
		}
		if number > maxRows {
			r.fault(Fault{Row: number, Message: fmt.Sprintf("there are more than %d rows", maxRows)})
			return
		}
		r.row(in, names, cells, number)
	}
}

// separator is the one of comma, semicolon and tab that the first row has most of.
func separator(text []byte) rune {
	for line := range bytes.Lines(text) {
		if line[0] == '#' || len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		best := ','
		for _, c := range ";\t" {
			if bytes.Count(line, []byte(string(c))) > bytes.Count(line, []byte(string(best))) {
				best = c
			}
		}
		return best
	}
	return ','
}

func (r *reader) csvFault(err error, number int) {
	var at *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		r.fault(Fault{Message: "it is empty: the first row names the columns, and name is one of them"})
	case errors.As(err, &at):
		r.fault(Fault{Line: at.Line, Position: at.Column, Row: number, Message: at.Err.Error() + ": a cell with a quote, a separator or a line end is written in quotes, and its quotes doubled"})
	default:
		r.fault(Fault{Row: number, Message: err.Error()})
	}
}

// header checks the names of the columns and returns them in their places, "" for one that is not known.
func (r *reader) header(in *csv.Reader, cells []string) []string {
	names := make([]string, len(cells))
	seen := map[string]bool{}
	for i, c := range cells {
		line, position := in.FieldPos(i)
		name := normal(c)
		switch {
		case name == "":
			r.fault(Fault{Line: line, Position: position, Row: 1, Message: fmt.Sprintf("the name of the %d. column is missing", i+1)})
		case !known(name):
			r.unknown(strings.TrimSpace(c), line, position, 1)
		case seen[name]:
			r.fault(Fault{Line: line, Position: position, Row: 1, Column: name, Message: "it is there twice"})
		default:
			names[i] = name
		}
		seen[name] = true
	}
	if !seen["name"] {
		r.fault(Fault{Line: 1, Position: 1, Row: 1, Message: "the first row names the columns, and the column name is missing"})
	}
	return names
}

func (r *reader) row(in *csv.Reader, names, cells []string, number int) {
	if strings.TrimSpace(strings.Join(cells, "")) == "" {
		return // spreadsheets leave rows of separators
	}
	rec := record{number: number, cells: map[string]cell{}}
	rec.line, rec.position = in.FieldPos(0)
	for i, c := range cells {
		if i < len(names) && names[i] != "" && strings.TrimSpace(c) != "" {
			line, position := in.FieldPos(i)
			rec.cells[names[i]] = cell{value{text: c}, line, position}
		}
	}
	if len(cells) != len(names) {
		r.fault(Fault{Line: rec.line, Position: rec.position, Row: number, Message: fmt.Sprintf("it has %d cells and there are %d columns: a cell with a separator is written in quotes", len(cells), len(names))})
	}
	r.fill(&rec)
	r.rows = append(r.rows, rec)
}
