package standin

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// signed is when the keys were made and everything was signed.
var signed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Key signs as a publisher's does.
type Key struct{ entity *openpgp.Entity }

// NewKey makes an RSA key, which is what Ubuntu and the openSUSE Build Service sign with.
func NewKey(name string) (Key, error) {
	e, err := openpgp.NewEntity(name, "test key", "publisher@example.org", config())
	if err != nil {
		return Key{}, fmt.Errorf("making a key: %w", err)
	}
	return Key{e}, nil
}

func config() *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048, Time: func() time.Time { return signed }}
}

// Fingerprint of the primary key, 40 hexadecimal digits.
func (k Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Public returns the public key, binary.
func (k Key) Public() ([]byte, error) {
	var b bytes.Buffer
	err := k.entity.Serialize(&b)
	return b.Bytes(), err
}

// Armored is Public as text.
func (k Key) Armored() ([]byte, error) {
	data, err := k.Public()
	if err != nil {
		return nil, err
	}
	return armored(openpgp.PublicKeyType, data)
}

func armored(kind string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return append(b.Bytes(), '\n'), err
}

// ClearSign returns text with an inline signature, as InRelease has it.
func (k Key) ClearSign(text string) ([]byte, error) {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, config())
	if err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// Detach returns one armored file with a signature of each key.
func Detach(data []byte, keys ...Key) ([]byte, error) {
	var b bytes.Buffer
	for _, k := range keys {
		if err := openpgp.DetachSign(&b, k.entity, bytes.NewReader(data), config()); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	return armored(openpgp.SignatureType, b.Bytes())
}

// sumsLine is a line of SHA256SUMS; the star says that the file was read as binary.
func sumsLine(sum [sha256.Size]byte, name string) string {
	return fmt.Sprintf("%x *%s\n", sum, path.Base(name))
}

// otherFiles are lines of SHA256SUMS for files that nobody asks for, which real lists are full of.
func otherFiles(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(sumsLine(sha256.Sum256([]byte(n)), n))
	}
	return b.String()
}
