// Inside looks around in a box and complains about what it should not see or be allowed. With an argument it does something
// else: "nothing", "sleep" waits, "fail" ends with code 3 after a few words.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	switch strings.Join(os.Args[1:], " ") {
	case "sleep":
		time.Sleep(time.Hour)
	case "nothing":
		os.Exit(0)
	case "fail":
		fmt.Println("first")
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
	}
	if err := errors.Join(identity(), files(), network()); err != nil {
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func identity() error {
	var all error
	if os.Getuid() != 65534 || os.Getpid() != 1 {
		all = fmt.Errorf("it is user %d, process %d", os.Getuid(), os.Getpid())
	}
	head, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&head, &data[0]); err != nil || data != [2]unix.CapUserData{} {
		all = errors.Join(all, fmt.Errorf("it has capabilities: %v %v", data, err))
	}
	if err := syscall.Chroot("/"); err == nil {
		all = errors.Join(all, errors.New("it can change its root"))
	}
	if err := syscall.Mount("none", "/tmp", "tmpfs", 0, ""); err == nil {
		all = errors.Join(all, errors.New("it can mount"))
	}
	return all
}

func files() error {
	list, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "tmp usr" {
		return fmt.Errorf("it sees %s", got)
	}
	if got := strings.Join(os.Environ(), " "); got != "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C LANG=C" {
		return fmt.Errorf("its environment is %s", got)
	}
	text, err := os.ReadFile("/dev/stdin")
	if err == nil {
		return fmt.Errorf("there is a /dev: %s", text)
	}
	return os.WriteFile("/tmp/made", []byte("by it"), 0o600)
}

func network() error {
	list, err := net.Interfaces()
	if err != nil || len(list) != 1 || list[0].Flags&net.FlagUp != 0 {
		return fmt.Errorf("it sees a network: %v %v", list, err)
	}
	return nil
}
