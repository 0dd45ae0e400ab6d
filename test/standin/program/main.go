// Command program is a stand-in for programs that tests only carry around: cloudcore, kubeadm, conmon
// and their like. It says which one it is named after, and that it is none of them. As pause it waits
// for the signal to end, which is what the original does.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	name := filepath.Base(os.Args[0])
	fmt.Printf("%s: a stand-in for tests\n", name)
	if name == "pause" {
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
		<-ended
	}
}
