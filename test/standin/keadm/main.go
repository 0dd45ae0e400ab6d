// Command keadm is a stand-in for KubeEdge's keadm 1.8.2 in tests. What it does and says on an edge
// node is what the original does: join and reset run the same commands through bash, in the same
// order, with the same prompts, files and exit codes (keadm/cmd/keadm/app/cmd in KubeEdge's sources).
// It knows nothing of the cloud's side: init and gettoken end with an error.
//
// EDGEBAKE_STANDIN_ROOT, which the original does not know, is put before every absolute path.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/test/standin/kubeedge"
)

// exitFatal is that of klog.Fatal.
const exitFatal = 255

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program. What the original panics at panics here: exit code 2.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &shell{stdin: stdin, stdout: stdout, log: kubeedge.NewLog(stderr)}
	root := &cobra.Command{Use: "keadm", Short: "keadm: Bootstrap KubeEdge cluster (stand-in for tests)", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(newJoin(s), newReset(s), newVersion(stdout), absent("init"), absent("gettoken"))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "Error: %v\n%s\n", err, cmd.UsageString())
	s.log.Fatal("%v", err)
	return exitFatal
}

func newVersion(stdout io.Writer) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version of keadm", Run: func(*cobra.Command, []string) {
		fmt.Fprintf(stdout, "version: version.Info{Major:\"1\", Minor:\"8\", GitVersion:\"v%s\", GitCommit:\"stand-in for tests\"}\n", kubeedge.Version)
	}}
}

func absent(name string) *cobra.Command {
	return &cobra.Command{Use: name, Short: "not in this stand-in", RunE: func(*cobra.Command, []string) error {
		return errors.New("this stand-in of keadm has no " + name)
	}}
}

// options are the flags of join.
type options struct {
	cloudCore, token, certPort, nodeName     string
	runtimeType, endpoint, cgroups           string
	labels, version, tarballs, unusedCertDir string
}

func newJoin(s *shell) *cobra.Command {
	var o options
	cmd := &cobra.Command{Use: "join", Short: "Bootstraps edge component", RunE: func(*cobra.Command, []string) error { return s.join(o) }}
	f := cmd.Flags()
	f.StringVarP(&o.cloudCore, "cloudcore-ipport", "e", "", "IP:Port address of KubeEdge CloudCore")
	f.StringVarP(&o.token, "token", "t", "", "Used for edge to apply for the certificate")
	f.StringVarP(&o.certPort, "certport", "s", "", "The port where to apply for the edge certificate")
	f.StringVarP(&o.nodeName, "edgenode-name", "i", "", "KubeEdge Node unique identification string")
	f.StringVarP(&o.runtimeType, "runtimetype", "r", "", "Container runtime type")
	f.StringVarP(&o.endpoint, "remote-runtime-endpoint", "p", "", "KubeEdge Edge Node RemoteRuntimeEndpoint string")
	f.StringVar(&o.cgroups, "cgroupdriver", "", "CGroupDriver that uses to manipulate cgroups on the host (cgroupfs or systemd)")
	f.StringVarP(&o.labels, "labels", "l", "", "use this key to set the customized labels for node, key=value,key=value")
	f.StringVar(&o.version, "kubeedge-version", "", "Use this key to download and use the required KubeEdge version")
	f.StringVar(&o.tarballs, "tarballpath", "", "Use this key to set the temp directory path for KubeEdge tarball, if not exist, download it")
	f.StringVar(&o.unusedCertDir, "certPath", "/etc/kubeedge/certs", "The certPath used by edgecore")
	if err := cmd.MarkFlagRequired("cloudcore-ipport"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func newReset(s *shell) *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "reset", Short: "Teardowns KubeEdge component", RunE: func(*cobra.Command, []string) error { return s.reset(force) }}
	cmd.Flags().BoolVar(&force, "force", false, "Reset the node without prompting for confirmation")
	cmd.Flags().String("kube-config", "/root/.kube/config", "Use this key to set kube-config path")
	return cmd
}

// parseLabels splits k=v,k2=v2. An item without = is out of range in the original.
func parseLabels(text string) map[string]string {
	labels := map[string]string{}
	if text == "" {
		return labels
	}
	for _, item := range strings.Split(text, ",") {
		parts := strings.Split(item, "=")
		labels[parts[0]] = parts[1]
	}
	return labels
}
