package inventory

import (
	"strings"

	"github.com/edgebake/edgebake/cloudinit"
)

// Problem is one thing wrong with a node.
type Problem struct {
	// Column is the name of the property, as in the inventory.
	Column  string
	Message string
}

// Check lists what Node.Check finds, by columns.
func Check(n cloudinit.Node) []Problem {
	err := n.Check()
	if err == nil {
		return nil
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	problems := make([]Problem, len(list))
	for i, e := range list {
		problems[i] = problem(e.Error())
	}
	return problems
}

// problem splits a fault, which begins with the name of the field: "certport 0 is no port" is one of cert-port.
func problem(text string) Problem {
	field, message, _ := strings.Cut(text, " ")
	field = strings.TrimSuffix(field, ":")
	if field == "wifi" {
		return Problem{wifiColumn(message), message}
	}
	for _, name := range columnNames() {
		if strings.ReplaceAll(name, "-", "") == field {
			return Problem{name, message}
		}
	}
	return Problem{"", text}
}

func wifiColumn(message string) string {
	switch {
	case strings.HasPrefix(message, "the password"):
		return "wifi-password"
	case strings.HasPrefix(message, "country"):
		return "wifi-country"
	}
	return "wifi-ssid"
}
