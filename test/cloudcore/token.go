package cloudcore

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"
)

// TokenLifetime is CloudCore's: twice the tokenRefreshDuration of 12 hours.
const TokenLifetime = 24 * time.Hour

// Token makes a token that ends after lifetime; a negative one has ended already. With
// FaultExpiredToken each has ended an hour ago.
//
// It is the SHA-256 of the authority's certificate in hexadecimal, a dot, and a JSON Web Token (RFC
// 7519) of HS256 whose key is the authority's private key in DER.
func (s *Server) Token(lifetime time.Duration) string {
	if s.has(FaultExpiredToken) {
		lifetime = -time.Hour
	}
	head := encode([]byte(`{"alg":"HS256","typ":"JWT"}`))
	claims := encode(fmt.Appendf(nil, `{"exp":%d}`, s.opt.Now().Add(lifetime).Unix()))
	mac := hmac.New(sha256.New, s.ours.secret)
	mac.Write([]byte(head + "." + claims)) // a hash never fails
	return fmt.Sprintf("%x.%s.%s.%s", sha256.Sum256(s.ours.certificate.Raw), head, claims, encode(mac.Sum(nil)))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// checkToken checks the three parts after the first: signature and end. Neither the node's name nor
// the number of uses matters to CloudCore.
func (s *Server) checkToken(jwt string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return fmt.Errorf("it has %d parts and not 3", len(parts))
	}
	var head struct{ Alg string }
	var claims struct{ Exp *int64 }
	if err := errors.Join(decode(parts[0], &head), decode(parts[1], &claims)); err != nil {
		return err
	}
	algorithms := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	algorithm, ok := algorithms[head.Alg]
	if !ok {
		return fmt.Errorf("its algorithm is %q", head.Alg)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	mac := hmac.New(algorithm, s.ours.secret)
	mac.Write([]byte(parts[0] + "." + parts[1])) // a hash never fails
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return errors.New("its signature is not of this CloudCore")
	}
	if claims.Exp != nil && s.opt.Now().Unix() > *claims.Exp {
		return fmt.Errorf("it ended at %s", time.Unix(*claims.Exp, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

func decode(part string, out any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errors.New("a part is not base64url") // the library's text quotes the secret
	}
	if json.Unmarshal(b, out) != nil {
		return errors.New("a part is not JSON") // the same
	}
	return nil
}
