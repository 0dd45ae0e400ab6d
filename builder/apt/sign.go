package apt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxSignatures bounds the signatures of one Release; Debian has three.
const maxSignatures = 32

// SignatureError says that no pinned key vouches for a Release file.
type SignatureError struct {
	// Expired are the pinned keys whose signature would be good had they not expired.
	Expired []string
	// Signers are key IDs of the signatures that are there.
	Signers []string
	// Pinned are the fingerprints that were accepted.
	Pinned []string
	Reason string // of the last signature by a pinned key, "" if there is none
}

func (e *SignatureError) Error() string {
	switch {
	case len(e.Expired) > 0:
		return fmt.Sprintf("checking signature: the pinned key %s has expired; get the archive's new keyring and pin its fingerprint",
			strings.Join(e.Expired, ", "))
	case e.Reason != "":
		return "checking signature: " + e.Reason
	case len(e.Signers) == 0:
		return "checking signature: there is none"
	}
	return fmt.Sprintf("checking signature: signed by key %s, but pinned are %s",
		strings.Join(e.Signers, ", "), strings.Join(e.Pinned, ", "))
}

// pinnedKeys reads the keyring and keeps the keys whose primary fingerprint is pinned.
func pinnedKeys(keyring []byte, fingerprints []string) (openpgp.EntityList, error) {
	keys, err := readKeys(keyring)
	if err != nil {
		return nil, fmt.Errorf("reading keyring: %w", err)
	}
	if len(fingerprints) == 0 {
		return nil, errors.New("reading keyring: no fingerprint is pinned")
	}
	var pinned openpgp.EntityList
	for _, want := range fingerprints {
		want = normalFingerprint(want)
		i := slices.IndexFunc(keys, func(e *openpgp.Entity) bool {
			return hex.EncodeToString(e.PrimaryKey.Fingerprint) == want
		})
		if i < 0 {
			return nil, fmt.Errorf("reading keyring: no primary key %s among its %d keys", strings.ToUpper(want), len(keys))
		}
		pinned = append(pinned, keys[i])
	}
	return pinned, nil
}

func normalFingerprint(s string) string {
	return strings.ToLower(strings.Join(strings.Fields(s), ""))
}

func readKeys(keyring []byte) (openpgp.EntityList, error) {
	if bytes.Contains(keyring, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(keyring))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(keyring))
}

// verifyClear returns the signed text of a clear-signed file and nothing that stands around it.
func verifyClear(data []byte, pinned openpgp.EntityList, now time.Time) ([]byte, error) {
	block, _ := clearsign.Decode(data)
	if block == nil {
		return nil, errors.New("checking signature: the file is not clear-signed")
	}
	if _, err := verifyAny(block.Bytes, block.ArmoredSignature.Body, pinned, now); err != nil {
		return nil, err
	}
	return block.Plaintext, nil
}

// VerifyDetached checks a detached signature over data, as SHA256SUMS.gpg is over SHA256SUMS: one
// good signature by a key of the keyring whose fingerprint is pinned is enough, whoever else
// signed. It returns that fingerprint, in upper case. now is when keys must not have expired.
// Faults: *SignatureError.
func VerifyDetached(data, signature, keyring []byte, fingerprints []string, now time.Time) (signer string, err error) {
	pinned, err := pinnedKeys(keyring, fingerprints)
	if err != nil {
		return "", err
	}
	return detachedSigner(data, signature, pinned, now)
}

// verifyDetached checks Release.gpg, armored or binary, over Release.
func verifyDetached(data, signature []byte, pinned openpgp.EntityList, now time.Time) error {
	_, err := detachedSigner(data, signature, pinned, now)
	return err
}

func detachedSigner(data, signature []byte, pinned openpgp.EntityList, now time.Time) (string, error) {
	var in io.Reader = bytes.NewReader(signature)
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN")) {
		block, err := armor.Decode(in)
		if err != nil {
			return "", fmt.Errorf("reading signature: %w", err)
		}
		in = block.Body
	}
	return verifyAny(data, in, pinned, now)
}

// verifyAny wants one good signature of a pinned key among those of in, and returns that key. The library stops at the
// first signature whose key it knows, good or not, so each one is tried by itself.
func verifyAny(signed []byte, in io.Reader, pinned openpgp.EntityList, now time.Time) (string, error) {
	signatures, err := readSignatures(in)
	if err != nil {
		return "", err
	}
	fault := &SignatureError{}
	for _, e := range pinned {
		fault.Pinned = append(fault.Pinned, fmt.Sprintf("%X", e.PrimaryKey.Fingerprint))
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	for _, sig := range signatures {
		var one bytes.Buffer
		if err := sig.Serialize(&one); err != nil {
			return "", fmt.Errorf("reading signature: %w", err)
		}
		_, signer, err := openpgp.VerifyDetachedSignature(pinned, bytes.NewReader(signed), &one, config)
		if err == nil {
			return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
		}
		fault.add(sig, signer, err)
	}
	return "", fault
}

func (e *SignatureError) add(sig *packet.Signature, signer *openpgp.Entity, err error) {
	id := "without an issuer"
	if sig.IssuerKeyId != nil {
		id = fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	e.Signers = append(e.Signers, id)
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired) && signer != nil:
		e.Expired = append(e.Expired, fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint))
	case !errors.Is(err, pgperrors.ErrUnknownIssuer):
		e.Reason = fmt.Sprintf("signature of key %s: %v", id, err)
	}
}

func readSignatures(in io.Reader) ([]*packet.Signature, error) {
	var list []*packet.Signature
	for packets := packet.NewReader(in); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading signature: %w", err)
		}
		if sig, ok := p.(*packet.Signature); ok {
			list = append(list, sig)
		}
		if len(list) > maxSignatures {
			return nil, fmt.Errorf("reading signature: more than the allowed %d", maxSignatures)
		}
	}
}
