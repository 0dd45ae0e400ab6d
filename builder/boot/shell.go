package boot

import "strings"

// shellVars are the variables of /etc/default/grub and its grub.d, as far as they can be known
// without a shell: assignments of words with quotes and plain $NAME or ${NAME}.
type shellVars struct {
	values map[string]string
	// unknown are variables whose value needs a shell: command substitution, ${NAME:-…} and such,
	// and all that is assigned in a file with conditions or loops.
	unknown map[string]bool
}

func newShellVars() shellVars {
	return shellVars{values: map[string]string{}, unknown: map[string]bool{}}
}

// read applies the assignments of a file; it never fails.
func (v shellVars) read(text string) {
	p := shellParser{text: text, vars: v}
	for p.at < len(p.text) {
		p.statement()
	}
}

type shellParser struct {
	text string
	at   int
	vars shellVars
	// conditional: a keyword was seen after which an assignment may not happen.
	conditional bool
}

func (p *shellParser) statement() {
	p.skip(" \t\r\n;")
	switch name := p.name(); {
	case p.at >= len(p.text):
	case p.text[p.at] == '#' && name == "":
		p.line()
	case name != "" && p.peek() == '=':
		p.at++
		p.assign(name)
	case name == "export" && p.peek() == ' ': // an assignment follows, or a name
	case name == "": // punctuation
		p.at++
		p.line()
	default:
		p.conditional = p.conditional || name != "true" && name != "export"
		p.line()
	}
}

func (p *shellParser) assign(name string) {
	value, known := p.word()
	p.vars.values[name] = value
	p.vars.unknown[name] = !known || p.conditional
}

func (p *shellParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *shellParser) skip(set string) {
	for p.at < len(p.text) && strings.IndexByte(set, p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *shellParser) line() {
	if i := strings.IndexByte(p.text[p.at:], '\n'); i >= 0 {
		p.at += i + 1
	} else {
		p.at = len(p.text)
	}
}

func (p *shellParser) name() string {
	start := p.at
	for p.at < len(p.text) && isNameByte(p.text[p.at], p.at == start) {
		p.at++
	}
	return p.text[start:p.at]
}

func isNameByte(c byte, first bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || !first && '0' <= c && c <= '9'
}

// word reads one word with its quotes; known is false when only a shell can tell its value.
func (p *shellParser) word() (value string, known bool) {
	var b strings.Builder
	known = true
	quote := byte(0)
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case quote == '\'' && c != '\'':
			b.WriteByte(c)
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == '\\':
			p.escape(&b, quote)
		case c == '$':
			known = p.expand(&b) && known
		case c == '`':
			known = false
		case quote == 0 && strings.IndexByte(" \t\r\n;&|<>()", c) >= 0:
			return b.String(), known && strings.IndexByte("&|<>()", c) < 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), known && quote == 0
}

// escape reads what follows a backslash: inside of double quotes only some characters need one.
func (p *shellParser) escape(b *strings.Builder, quote byte) {
	if p.at++; p.at >= len(p.text) {
		return
	}
	c := p.text[p.at]
	if c == '\n' {
		return // the line goes on
	}
	if quote == '"' && strings.IndexByte("$`\"\\", c) < 0 {
		b.WriteByte('\\')
	}
	b.WriteByte(c)
}

// expand reads $NAME or ${NAME}; at stays on its last byte.
func (p *shellParser) expand(b *strings.Builder) (known bool) {
	p.at++
	braces := p.peek() == '{'
	if braces {
		p.at++
	}
	name := p.name()
	if name == "" || braces && p.peek() != '}' {
		p.at--
		return false
	}
	if !braces {
		p.at--
	}
	b.WriteString(p.vars.values[name])
	return !p.vars.unknown[name]
}
