// Package token reads KubeEdge tokens: what an edge node shows to CloudCore when it joins.
//
// A token is "<CA hash>.<header>.<payload>.<signature>": the SHA-256 of the certificate authority's
// certificate in DER, 64 lower-case hexadecimal digits, and a JWT with HS256 whose only claim is its
// expiry. CloudCore makes a new one every 12 hours, each valid for 24.
//
// A Token is a secret: whoever has it can join nodes. It comes from a file, standard input, a command or the
// cluster's Secret, never from an argument, which every user of the machine sees in ps. Its text is
// only had by Token.Secret; printing, logging or marshalling a Token gives Redacted.
//
// The signature is not checked: its key is the certificate authority's private one, which only CloudCore has.
//
// client-go is not used to read the Secret: one GET would bring some 60 modules and 20 MB along.
// The kubeconfigs of KubeEdge's guides (client certificates, bearer tokens, passwords) are read; those
// that start a program to log in are refused with the command that does the same.
//
// Source: KubeEdge v1.8.2, cloud/pkg/cloudhub/servers/httpserver.
package token

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// Redacted is what a Token prints as.
const Redacted = "[redacted token]"

// maxSize bounds what is read as a token: a real one has about 170 characters.
const maxSize = 4096

// Token is a parsed token. The zero value is none.
type Token struct {
	// text is behind a pointer: fmt prints the fields of a Token inside an unexported field of another
	// struct without asking the methods below.
	text    *string
	caHash  [sha256.Size]byte
	expires time.Time
}

// FormatError says that a text is no KubeEdge token. It never holds any of the text.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string {
	return "reading KubeEdge token: " + e.Reason + "; `keadm gettoken` on the machine of CloudCore prints one"
}

func malformed(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// Parse reads a token; blanks around it and a byte order mark are taken off. Errors: *FormatError.
func Parse(text string) (Token, error) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	parts := strings.Split(text, ".")
	switch {
	case text == "":
		return Token{}, malformed("it is empty")
	case strings.ContainsAny(text, " \t\r\n"):
		return Token{}, malformed("there is more than one word; only the token itself is wanted")
	case len(text) > maxSize:
		return Token{}, malformed("it has %d characters and a token about 170", len(text))
	case len(parts) == 3:
		return Token{}, malformed("it has 3 parts between dots instead of 4: a bare JWT, without the hash of the certificate authority in front")
	case len(parts) != 4:
		return Token{}, malformed("it has %d parts between dots instead of 4", len(parts))
	}
	t := Token{text: &text}
	if err := t.readHash(parts[0]); err != nil {
		return Token{}, err
	}
	if err := t.readJWT(parts[1:]); err != nil {
		return Token{}, err
	}
	return t, nil
}

func (t *Token) readHash(s string) error {
	if len(s) != hex.EncodedLen(len(t.caHash)) {
		return malformed("its first part has %d characters and the hash of the certificate authority has 64: was it cut off when it was copied?", len(s))
	}
	// edgecore compares the text, so upper case would never match.
	if _, err := hex.Decode(t.caHash[:], []byte(s)); err != nil || s != strings.ToLower(s) {
		return malformed("its first part is not 64 lower-case hexadecimal digits")
	}
	return nil
}

func (t *Token) readJWT(parts []string) error {
	var header struct {
		Alg string `json:"alg"`
	}
	if err := readPart(parts[0], &header); err != nil {
		return malformed("its second part is no JWT header")
	}
	if header.Alg != "HS256" {
		return malformed("its signature has another algorithm than HS256, which CloudCore makes and takes")
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	if err := readPart(parts[1], &claims); err != nil {
		return malformed("its third part holds no claims of a JWT")
	}
	const lastSecond = 253402300799 // of the year 9999
	if claims.Exp == nil || *claims.Exp < 1 || *claims.Exp > lastSecond {
		return malformed("its third part has no expiry (exp, in seconds since 1970)")
	}
	t.expires = time.Unix(int64(*claims.Exp), 0).UTC()
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(signature) != sha256.Size {
		return malformed("its signature is not the 43 characters of an HMAC with SHA-256: was the end cut off when it was copied?")
	}
	return nil
}

func readPart(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// Read parses the token that r gives.
func Read(r io.Reader) (Token, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return Token{}, fmt.Errorf("reading KubeEdge token: %w", err)
	}
	return Parse(string(b))
}

// Secret returns the text of the token, for the seed and for nothing else.
func (t Token) Secret() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// IsZero says that there is no token.
func (t Token) IsZero() bool { return t.text == nil }

// CAHash returns the SHA-256 of the certificate authority's DER, 64 lower-case digits. It is no secret.
func (t Token) CAHash() string { return hex.EncodeToString(t.caHash[:]) }

// Expires returns the second from which on CloudCore refuses the token.
func (t Token) Expires() time.Time { return t.expires }

// ExpiredError says that a token is no longer valid when it is needed.
type ExpiredError struct {
	Expires, Now time.Time
	// ShipsIn is how long it has to last; 0 when it has expired already.
	ShipsIn time.Duration
}

func (e *ExpiredError) Error() string {
	at := e.Expires.Format(time.RFC3339)
	if left := e.Expires.Sub(e.Now); left > 0 {
		return fmt.Sprintf("checking KubeEdge token: it expires at %s, %s from now, and has to last for %s", at, spoken(left), spoken(e.ShipsIn))
	}
	return fmt.Sprintf("checking KubeEdge token: it expired at %s, %s ago", at, spoken(e.Now.Sub(e.Expires)))
}

// spoken is a duration for people: 23h59m, 3d4h, 12s.
func spoken(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Truncate(time.Second).String()
}

// CheckExpiry refuses a token that is not valid at now, or not for the time until the nodes are switched on.
// Errors: *ExpiredError.
func (t Token) CheckExpiry(now time.Time, shipsIn time.Duration) error {
	if now.Add(shipsIn).Before(t.expires) {
		return nil
	}
	return &ExpiredError{Expires: t.expires, Now: now, ShipsIn: shipsIn}
}

// WrongCAError says that a token belongs to another certificate authority.
type WrongCAError struct{ Token, CA string }

func (e *WrongCAError) Error() string {
	return fmt.Sprintf("checking KubeEdge token: it is for the certificate authority %s, and the given one is %s: nodes would refuse this CloudCore", e.Token, e.CA)
}

// CheckCA compares the token's hash with a certificate in PEM or DER. Errors: *WrongCAError.
func (t Token) CheckCA(certificate []byte) error {
	der := certificate
	if block, _ := pem.Decode(certificate); block != nil {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("reading certificate authority: its PEM holds a %s instead of a CERTIFICATE", block.Type)
		}
		der = block.Bytes
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("reading certificate authority: it is no certificate in PEM or DER: %w", err)
	}
	if sum := sha256.Sum256(der); sum != t.caHash {
		return &WrongCAError{Token: t.CAHash(), CA: hex.EncodeToString(sum[:])}
	}
	return nil
}

// String hides the token.
func (Token) String() string { return Redacted }

// GoString hides the token from %#v.
func (Token) GoString() string { return Redacted }

// Format hides the token from every verb of fmt.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) } // fmt keeps the fault

// MarshalText hides the token from JSON, YAML and XML.
func (Token) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue hides the token from slog.
func (Token) LogValue() slog.Value { return slog.StringValue(Redacted) }

// GobEncode refuses: a Token does not leave the process.
func (Token) GobEncode() ([]byte, error) {
	return nil, errors.New("encoding KubeEdge token: it is a secret")
}

var pattern = regexp.MustCompile(`[0-9a-fA-F]{64}\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]*|\beyJ[A-Za-z0-9_=-]+\.eyJ[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+`)

// Contains says whether text holds something that looks like a token, or the JWT of one.
func Contains(text string) bool { return pattern.MatchString(text) }

// Hide replaces what looks like a token in a text that is shown to people.
func Hide(text string) string { return pattern.ReplaceAllLiteralString(text, Redacted) }
