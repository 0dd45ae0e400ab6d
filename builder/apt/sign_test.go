package apt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestVerifyDetached: one good signature of a pinned key is enough beside foreign ones; an expired
// pinned key is told from a wrong one.
func TestVerifyDetached(t *testing.T) {
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 3600, Time: func() time.Time { return testNow }}
	var signatures bytes.Buffer
	var keys openpgp.EntityList
	for range 2 {
		k, err := openpgp.NewEntity("Test", "", "", config)
		must(t, err)
		keys = append(keys, k)
		must(t, openpgp.DetachSign(&signatures, k, strings.NewReader("text"), config))
	}
	must(t, verifyDetached([]byte("text"), signatures.Bytes(), keys[1:], testNow))
	var bad *SignatureError
	err := verifyDetached([]byte("text"), signatures.Bytes(), keys[1:], testNow.Add(2*time.Hour))
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("expired key: %v", err)
	}
	if err := verifyDetached([]byte("other"), signatures.Bytes(), keys, testNow); !errors.As(err, &bad) {
		t.Errorf("other text: %v", err)
	}
}
