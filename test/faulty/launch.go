package faulty

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// programVariable names the program that a launcher turns into.
const programVariable = "EDGEBAKE_FAULTY_PROGRAM"

// launcherSocket is the launcher's number for the socket through which it sends the kernel's file of questions.
const launcherSocket = 3

// Launch does nothing, unless this process is a launcher: then it takes on the filter and turns into the program.
//
// The filter needs a process of its own. Go's runtime writes, too, to wake a thread, and that it does without letting go of
// its processor: if a thread of the process that answers had the filter, both could wait for each other for ever.
func Launch() {
	program := os.Getenv(programVariable)
	if program == "" {
		return
	}
	err := launch(program)
	fmt.Fprintf(os.Stderr, "launching %s: %v\n", program, err)
	os.Exit(1)
}

func launch(program string) error {
	runtime.LockOSThread() // the filter is this thread's, and the only one that is left when it becomes the program
	unix.CloseOnExec(launcherSocket)
	listener, err := listen()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(launcherSocket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("sending the file of questions: %w", err)
	}
	environment := []string{}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, programVariable+"=") {
			environment = append(environment, v)
		}
	}
	return unix.Exec(program, os.Args, environment)
}

// listen gives this thread a filter, and returns the file that the kernel's questions are read from. It is closed on exec.
func listen() (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("giving up new privileges: %w", err)
	}
	fd, err := install(program())
	if err != nil {
		return -1, fmt.Errorf("asking the kernel to ask about system calls (seccomp user notification, Linux 5.19 or newer, not forbidden by a container's own filter): %w", err)
	}
	return fd, nil
}

// launchWith makes cmd start the launcher, and returns this process's end of the launcher's socket.
func launchWith(cmd *exec.Cmd) (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("looking for the launcher: %w", err)
	}
	if len(cmd.ExtraFiles) != 0 {
		return nil, errors.New("preparing the launcher: the program is to have more files, and the launcher needs the first")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("preparing the launcher: %w", err)
	}
	cmd.Env = append(cmd.Environ(), programVariable+"="+cmd.Path)
	cmd.Path = self
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "launcher")}
	return os.NewFile(uintptr(pair[0]), "launched"), nil
}

// receiveListener waits for what listen returned to the launcher.
func receiveListener(socket *os.File) (*os.File, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receiving from the launcher: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("the launcher sent no file of questions"), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return nil, errors.Join(errors.New("the launcher sent no file of questions"), err)
	}
	return os.NewFile(uintptr(files[0]), "seccomp"), nil
}
