package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

const (
	dials          = 5                // in one try
	handshakeLimit = 30 * time.Second // websocket.handshakeTimeout
	maxMessage     = 32 << 20         // more than CloudCore sends
)

// message is what CloudCore and edgecore exchange.
type message struct {
	Header struct {
		ID        string `json:"msg_id"`
		Parent    string `json:"parent_msg_id,omitempty"`
		Timestamp int64  `json:"timestamp"`
		Sync      bool   `json:"sync,omitempty"`
	} `json:"header"`
	Route   route           `json:"route"`
	Content json.RawMessage `json:"content"`
}

type route struct {
	Source    string `json:"source"`
	Group     string `json:"group"`
	Operation string `json:"operation"`
	Resource  string `json:"resource"`
}

func newMessage(r route, content any) (message, error) {
	m := message{Route: r}
	m.Header.ID, m.Header.Timestamp = rand.Text(), time.Now().UnixMilli()
	var err error
	m.Content, err = json.Marshal(content)
	return m, err
}

// hub is the module edgeHub: the connection to CloudCore.
type hub struct {
	settings
	log    *kubeedge.Log
	config kubeedge.EdgeHub
	node   *edged
}

// run connects, and connects again, until ctx ends.
func (h *hub) run(ctx context.Context) {
	wait := 2 * time.Duration(h.config.Heartbeat) * time.Second
	for ctx.Err() == nil {
		conn, err := h.connect(ctx)
		if err != nil {
			h.log.Error("connection failed: %v, will reconnect after %s", err, wait)
		} else {
			h.converse(ctx, conn)
		}
		sleep(ctx, wait)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// connect dials five times.
func (h *hub) connect(ctx context.Context) (*websocket.Conn, error) {
	config, err := h.tls()
	if err != nil {
		return nil, err
	}
	for range dials {
		conn, err := h.dial(ctx, config)
		if err == nil {
			h.log.Info("Websocket connect to cloud access successful")
			return conn, nil
		}
		h.log.Error("Init websocket connection failed %v", err)
		sleep(ctx, h.dialPause)
	}
	return nil, errors.New("max retry count reached when connecting to cloud")
}

func (h *hub) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(h.certFile(), h.keyFile())
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(h.caFile())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("cannot parse the certificates")
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}

func (h *hub) dial(ctx context.Context, config *tls.Config) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	name := h.node.config.HostnameOverride
	url := "wss://" + h.config.WebSocket.Server + "/" + h.config.ProjectID + "/" + name + "/events"
	conn, r, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}},
		HTTPHeader: http.Header{"Node_id": {name}, "Project_id": {h.config.ProjectID}, "Connectionuse": {"msg"}},
	})
	if r != nil && r.Body != nil {
		r.Body.Close()
	}
	if err == nil {
		conn.SetReadLimit(maxMessage)
	}
	return conn, err
}

// converse talks until the connection ends.
func (h *hub) converse(ctx context.Context, conn *websocket.Conn) {
	ctx, lost := context.WithCancel(ctx)
	defer conn.CloseNow() //nolint:errcheck // it is lost already
	l := &line{conn: conn, lost: lost, waiting: map[string]chan message{}}
	var all sync.WaitGroup
	all.Go(func() { l.repeat(ctx, time.Duration(h.config.Heartbeat)*time.Second, l.keepalive) })
	all.Go(func() { l.send(ctx, route{"twin", "twin", "get", "membership/detail"}, "") })
	if h.node.config.Enable {
		all.Go(func() { h.node.report(ctx, l) })
	}
	err := l.read(ctx)
	lost()
	all.Wait()
	h.log.Error("websocket read error: %v", err)
}

// line is one connection. Everything on it ends when it is lost.
type line struct {
	conn *websocket.Conn
	lost context.CancelFunc

	mu      sync.Mutex
	waiting map[string]chan message // by the ID of the question
}

func (l *line) keepalive(ctx context.Context) {
	l.send(ctx, route{"websocket", "resource", "keepalive", "node"}, "ping")
}

// repeat does something now and in every period.
func (l *line) repeat(ctx context.Context, period time.Duration, do func(context.Context)) {
	for ctx.Err() == nil {
		do(ctx)
		sleep(ctx, period)
	}
}

func (l *line) send(ctx context.Context, r route, content any) {
	if m, err := newMessage(r, content); err != nil || l.write(ctx, m) != nil {
		l.lost()
	}
}

func (l *line) write(ctx context.Context, m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return l.conn.Write(ctx, websocket.MessageText, append(data, '\n'))
}

// ask sends a message and waits for its answer.
func (l *line) ask(ctx context.Context, m message) (message, error) {
	answer := make(chan message, 1)
	l.mu.Lock()
	l.waiting[m.Header.ID] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, m.Header.ID)
		l.mu.Unlock()
	}()
	if err := l.write(ctx, m); err != nil {
		return message{}, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	}
}

// read hands answers to who waits for them. Nothing else that CloudCore could send is acted on.
func (l *line) read(ctx context.Context) error {
	for {
		_, data, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		l.mu.Lock()
		if c, ok := l.waiting[m.Header.Parent]; ok {
			delete(l.waiting, m.Header.Parent)
			c <- m
		}
		l.mu.Unlock()
	}
}
