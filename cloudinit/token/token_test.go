package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/edgebake/edgebake/cloudinit/token"
)

var expiry = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func jwt(header, payload string) string {
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(header)) + "." + enc([]byte(payload))
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write([]byte(signed))
	return signed + "." + enc(mac.Sum(nil))
}

const header = `{"alg":"HS256","typ":"JWT"}`

func sample(t testing.TB) string {
	t.Helper()
	return strings.Repeat("0a", 32) + "." + jwt(header, fmt.Sprintf(`{"exp":%d}`, expiry.Unix()))
}

func TestParse(t *testing.T) {
	text := sample(t)
	for _, around := range []string{"%s", "%s\n", " %s\r\n", "\ufeff%s\n"} {
		got, err := token.Parse(fmt.Sprintf(around, text))
		if err != nil {
			t.Fatalf("%q: %v", around, err)
		}
		if got.Secret() != text || got.CAHash() != strings.Repeat("0a", 32) || !got.Expires().Equal(expiry) {
			t.Errorf("%q: %q, %s, %s", around, got.Secret(), got.CAHash(), got.Expires())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := sample(t)
	hash, rest, _ := strings.Cut(good, ".")
	for name, tt := range map[string]struct{ text, says string }{
		"empty":         {" \n", "empty"},
		"two words":     {good + " " + good, "one word"},
		"bare JWT":      {rest, "3 parts"},
		"five parts":    {good + ".x", "5 parts"},
		"short hash":    {hash[:60] + "." + rest, "60 characters"},
		"upper case":    {strings.ToUpper(hash) + "." + rest, "lower-case"},
		"no hex":        {strings.Repeat("g", 64) + "." + rest, "hexadecimal"},
		"cut off":       {good[:len(good)-9], "cut off"},
		"other alg":     {hash + "." + jwt(`{"alg":"none"}`, `{"exp":1}`), "HS256"},
		"no header":     {hash + "." + jwt(`x`, `{"exp":1}`), "header"},
		"no claims":     {hash + "." + jwt(header, `[]`), "claims"},
		"no expiry":     {hash + "." + jwt(header, `{}`), "expiry"},
		"huge expiry":   {hash + "." + jwt(header, `{"exp":1e300}`), "expiry"},
		"string expiry": {hash + "." + jwt(header, `{"exp":"1"}`), "claims"},
		"long":          {strings.Repeat("x", 5000), "5000 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := token.Parse(tt.text)
			var format *token.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tt.says) || !got.IsZero() {
				t.Fatalf("token %v, error %v; want one that says %q", !got.IsZero(), err, tt.says)
			}
			for _, part := range strings.Split(strings.TrimSpace(tt.text), ".") {
				if len(part) > 8 && strings.Contains(err.Error(), part) {
					t.Errorf("the error shows a part of the token: %v", err)
				}
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	tok, err := token.Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		before, ships time.Duration
		says          string
	}{
		"fresh":        {24 * time.Hour, 0, ""},
		"ships today":  {24 * time.Hour, 12 * time.Hour, ""},
		"ships later":  {5*time.Hour + 30*time.Minute, 72 * time.Hour, "5h30m from now, and has to last for 3d0h"},
		"just expired": {0, 0, "0s ago"},
		"long expired": {-100 * time.Hour, 0, "4d4h ago"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tok.CheckExpiry(expiry.Add(-tt.before), tt.ships)
			if tt.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var expired *token.ExpiredError
			if !errors.As(err, &expired) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want one that says %q", err, tt.says)
			}
		})
	}
}

// TestHidden prints a token in every way that there is, alone and inside of other types.
func TestHidden(t *testing.T) {
	tok, err := token.Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	type outer struct {
		Open   token.Token
		hidden token.Token
		ref    *token.Token
	}
	o := outer{tok, tok, &tok}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%e", "%p"} {
		fmt.Fprintf(&out, verb+"\n", tok)
		fmt.Fprintf(&out, verb+"\n", &tok)
		fmt.Fprintf(&out, verb+"\n", o)
		fmt.Fprintf(&out, verb+"\n", []outer{o})
		fmt.Fprintf(&out, verb+"\n", map[string]outer{"x": o})
	}
	fmt.Fprintln(&out, tok, o, o.hidden, o.ref, errors.Join(fmt.Errorf("with %v", o)))
	if err := json.NewEncoder(&out).Encode(o); err != nil {
		t.Error(err)
	}
	y, err := yaml.Marshal(o)
	if err != nil {
		t.Error(err)
	}
	out.Write(y)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("made", "token", tok, "outer", o, "any", slog.AnyValue(&tok))
	}
	if err := gob.NewEncoder(&out).Encode(o); err == nil {
		t.Error("gob takes a token")
	}
	text, signature := tok.Secret(), tok.Secret()[strings.LastIndexByte(tok.Secret(), '.')+1:]
	for _, secret := range []string{text, signature, hex.EncodeToString([]byte(signature)), fmt.Sprintf("%d", []byte(signature))} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(secret)) {
			t.Errorf("found %q", secret)
		}
	}
	if !strings.Contains(out.String(), token.Redacted) {
		t.Error("nothing is redacted: does this test print at all?")
	}
}

func TestCheckCA(t *testing.T) {
	der := authority(t)
	sum := sha256.Sum256(der)
	tok, err := token.Parse(hex.EncodeToString(sum[:]) + "." + jwt(header, `{"exp":2000000000}`))
	if err != nil {
		t.Fatal(err)
	}
	inPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, ca := range map[string][]byte{"DER": der, "PEM": inPEM, "PEM with text": append([]byte("the CA:\n"), inPEM...)} {
		if err := tok.CheckCA(ca); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wrong *token.WrongCAError
	if err := tok.CheckCA(authority(t)); !errors.As(err, &wrong) || wrong.Token != tok.CAHash() {
		t.Errorf("another authority: %v", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}})
	for name, ca := range map[string][]byte{"empty": nil, "key": key, "cut off": der[:40]} {
		if err := tok.CheckCA(ca); err == nil || errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1024), Subject: pkix.Name{CommonName: "KubeEdge"}, NotAfter: expiry, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSources(t *testing.T) {
	text := sample(t)
	dir := t.TempDir()
	file, bad := filepath.Join(dir, "token"), filepath.Join(dir, "bad")
	for path, content := range map[string]string{file: text + "\n", bad: "nonsense"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	command := func(c string) (token.Token, error) { return token.FromCommand(t.Context(), c, nil, &said) }
	for name, get := range map[string]func() (token.Token, error){
		"file":           func() (token.Token, error) { return token.FromFile(file, nil) },
		"standard input": func() (token.Token, error) { return token.FromFile("-", strings.NewReader(text)) },
		"command":        func() (token.Token, error) { return command("echo asking >&2; cat " + file) },
	} {
		if got, err := get(); err != nil || got.Secret() != text {
			t.Errorf("%s: %v", name, err)
		}
	}
	if said.String() != "asking\n" {
		t.Errorf("the command said %q", said.String())
	}
	for name, tt := range map[string]struct {
		get  func() (token.Token, error)
		says string
	}{
		"no file":           {func() (token.Token, error) { return token.FromFile(filepath.Join(dir, "absent"), nil) }, "absent"},
		"bad file":          {func() (token.Token, error) { return token.FromFile(bad, nil) }, bad},
		"no standard input": {func() (token.Token, error) { return token.FromFile("-", nil) }, "standard input"},
		"failing command":   {func() (token.Token, error) { return command("PASSWORD=geheim false") }, "exit status 1"},
		"endless command":   {func() (token.Token, error) { return command("head -c 10000000 /dev/zero | tr '\\0' x") }, "4097 characters"},
	} {
		_, err := tt.get()
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v; want one that says %q", name, err, tt.says)
		}
	}
}

func TestHide(t *testing.T) {
	text := sample(t)
	_, bare, _ := strings.Cut(text, ".")
	for _, secret := range []string{text, strings.ToUpper(text[:64]) + text[64:], bare} {
		line := "bake: " + secret + ": no such file"
		if !token.Contains(line) || token.Hide(line) != "bake: "+token.Redacted+": no such file" {
			t.Errorf("%q stays", token.Hide(line))
		}
	}
	for _, plain := range []string{"out/edge.img", strings.Repeat("0a", 32), "1.2.3.4", "a.b.c.d"} {
		if token.Contains(plain) {
			t.Errorf("%q is taken for a token", plain)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(strings.Repeat("0", 64) + ".e30.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := token.Parse(text)
		if err != nil {
			if len(text) > 40 && strings.Contains(err.Error(), text) {
				t.Errorf("the error shows the text: %v", err)
			}
			return
		}
		again, err := token.Parse(tok.Secret())
		if err != nil || again.Secret() != tok.Secret() || again.CAHash() != tok.CAHash() || !again.Expires().Equal(tok.Expires()) {
			t.Errorf("parsed again it is another one: %v", err)
		}
		if token.Hide(tok.Secret()) != token.Redacted {
			t.Error("Hide does not know it")
		}
	})
}
