package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Where CloudCore keeps its token (KubeEdge v1.8.2, common/constants).
const (
	namespace  = "kubeedge"
	secretName = "tokensecret"
	secretKey  = "tokendata"
)

const (
	// maxAnswer bounds the API server's answer: etcd refuses objects above 1.5 MiB.
	maxAnswer = 4 << 20
	// answerLimit bounds one request; an API server answers within milliseconds.
	answerLimit = 30 * time.Second
)

// FromCluster reads the token from CloudCore's Secret in the cluster that a context of a kubeconfig leads to; ""
// is its current one.
func FromCluster(ctx context.Context, kubeconfig, kubeContext string) (Token, error) {
	a, err := readKubeconfig(kubeconfig, kubeContext)
	if err != nil {
		return Token{}, fmt.Errorf("reading kubeconfig %s: %w", kubeconfig, err)
	}
	t, err := a.token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("reading Secret %s/%s from %s: %w", namespace, secretName, a.cluster.Server, err)
	}
	return t, nil
}

func (a access) token(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	transport, err := a.transport()
	if err != nil {
		return Token{}, err
	}
	defer transport.CloseIdleConnections()
	address := strings.TrimSuffix(a.cluster.Server, "/") + "/api/v1/namespaces/" + namespace + "/secrets/" + secretName
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Token{}, err
	}
	r.Header.Set("Accept", "application/json")
	if err := a.authorize(r); err != nil {
		return Token{}, err
	}
	// A redirect would carry the credentials elsewhere, and API servers send none.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return Token{}, explainReach(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return Token{}, err
	}
	if answer.StatusCode != http.StatusOK {
		return Token{}, explainStatus(answer.StatusCode, body)
	}
	return fromSecret(body)
}

func explainReach(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: is the API server reachable from here?", answerLimit)
	}
	return fmt.Errorf("%w: is the API server reachable from here, and is the kubeconfig its own?", err)
}

// explainStatus says what an answer other than 200 means, with the API server's own words.
func explainStatus(code int, body []byte) error {
	var status struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &status) // a proxy's answer is no Status, and then there are no words
	said := ""
	if words := Hide(status.Message); words != "" {
		said = fmt.Sprintf(" (%.300s)", words)
	}
	switch code {
	case http.StatusUnauthorized:
		return fmt.Errorf("the API server does not accept this kubeconfig's credentials%s: have they expired?", said)
	case http.StatusForbidden:
		return fmt.Errorf("the user of this kubeconfig may not read it%s: let somebody grant the verb get on secrets in the namespace %s, or run `keadm gettoken`", said, namespace)
	case http.StatusNotFound:
		return fmt.Errorf("it is not there%s: CloudCore makes it when it starts; is it running in this cluster?", said)
	}
	return fmt.Errorf("the API server answered %d%s", code, said)
}

func fromSecret(body []byte) (Token, error) {
	var secret struct {
		Data map[string][]byte `json:"data"` // base64 in JSON
	}
	if err := json.Unmarshal(body, &secret); err != nil {
		return Token{}, errors.New("the answer is no Secret")
	}
	text, ok := secret.Data[secretKey]
	if !ok {
		return Token{}, fmt.Errorf("it has no key %s: CloudCore has not filled it yet; try again in a minute", secretKey)
	}
	return Parse(string(text))
}
