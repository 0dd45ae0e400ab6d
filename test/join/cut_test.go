package join_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgebake/edgebake/test/cloudcore"
)

// Cut off before any of the commands that change something, the next boot joins. Each of these counts
// its calls, and at one of them everything on the machine ends.
func TestCutOff(t *testing.T) {
	const counting = `#!/bin/sh
echo x >>/var/steps
if [ "$(wc -l </var/steps)" = "$(cat /cut-at 2>/dev/null)" ]; then
	kill -9 -1
	kill -9 $$
fi
exec /usr/bin/%s "$@"
`
	for _, step := range []int{2, 7, 12, 17, 22, 27, 32, 37, 41, 45} {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for _, name := range []string{"awk", "cp", "dd", "mkdir", "mv", "rm", "sync", "tar", "ln"} {
				m.write("/stand-in/"+name, fmt.Sprintf(counting, name), 0o755)
			}
			m.boot()
			m.remove("/var/steps")
			m.write("/cut-at", fmt.Sprint(step), 0o644)
			if err := <-m.join().done; err == nil {
				t.Errorf("it joins in %d steps", strings.Count(m.read("/var/steps"), "\n"))
			}
			m.remove("/cut-at")
			m.cut()
			m.boot()
			m.join().ended()
			if _, err := m.cloud.WaitNode(t.Context(), "edge-1"); err != nil {
				t.Error(err)
			}
			m.checkJoined("edge-1")
		})
	}
}

// An attempt that got its certificates and no further needs no token for the next, which may be past
// the token's end.
func TestCertificatesStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	check(t, m.cloud.SetFaults(t.Context(), cloudcore.FaultUnanswered))
	m.boot()
	j := m.join()
	m.until("failed", "not-registered")
	m.putToken(m.cloud.Token(-time.Hour))
	check(t, m.cloud.SetFaults(t.Context()))
	j.ended()
	m.checkJoined("edge-1")
	if n, _ := m.cloud.Node("edge-1"); n.Certificates != 1 {
		t.Errorf("the node has %d certificates", n.Certificates)
	}
}
