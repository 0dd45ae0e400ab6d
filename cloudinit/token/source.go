package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// FromFile reads the token in the file at path; "-" is stdin.
func FromFile(path string, stdin io.Reader) (Token, error) {
	if path == "-" {
		if stdin == nil {
			return Token{}, errors.New("reading KubeEdge token from standard input: there is none")
		}
		return Read(stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return Token{}, fmt.Errorf("reading KubeEdge token: %w", err)
	}
	defer f.Close()
	t, err := Read(f)
	if err != nil {
		return Token{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return t, nil
}

// commandEnd is how long a command may keep its output open after it was told to end.
const commandEnd = 2 * time.Second

// FromCommand runs a shell command and parses what it prints. Its messages go to stderr. The command itself is
// in no error: it may hold a password.
func FromCommand(ctx context.Context, command string, stdin io.Reader, stderr io.Writer) (Token, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.WaitDelay = commandEnd
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &limited{w: &out, left: maxSize + 1}, stderr
	if err := cmd.Run(); err != nil {
		return Token{}, fmt.Errorf("running the command for the KubeEdge token: %w", err)
	}
	t, err := Parse(out.String())
	if err != nil {
		return Token{}, fmt.Errorf("running the command for the KubeEdge token: %w", err)
	}
	return t, nil
}

// limited drops what is over the limit: that is enough to see that it is no token.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	keep := b[:min(len(b), l.left)]
	l.left -= len(keep)
	if _, err := l.w.Write(keep); err != nil {
		return 0, err
	}
	return len(b), nil
}
