package kubeedge

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Log writes lines as klog does: I1123 16:46:36.123456    4711 file.go:12] text. One does for many goroutines.
type Log struct {
	mu sync.Mutex
	to io.Writer
}

// NewLog makes a log on a writer.
func NewLog(to io.Writer) *Log { return &Log{to: to} }

// Info writes a line of that level.
func (l *Log) Info(format string, args ...any) { l.line('I', format, args...) }

// Warning writes a line of that level.
func (l *Log) Warning(format string, args ...any) { l.line('W', format, args...) }

// Error writes a line of that level.
func (l *Log) Error(format string, args ...any) { l.line('E', format, args...) }

// Fatal writes a line and the stacks of the goroutines. The caller ends with exit code 255.
func (l *Log) Fatal(format string, args ...any) {
	l.line('F', format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.to.Write(debug.Stack()) // there is no other place to complain at
}

func (l *Log) line(level byte, format string, args ...any) {
	_, file, number, _ := runtime.Caller(2)
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.to, "%c%s %7d %s:%d] %s\n", level, time.Now().Format("0102 15:04:05.000000"), os.Getpid(), filepath.Base(file), number, fmt.Sprintf(format, args...))
}
