package initramfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/test/oracle"
)

// warmProgram tells all that a program can know of how it was called, and does what programs of packages do.
const warmProgram = `#!/usr/bin/perl -w
use strict;
use Cwd;
use File::Temp qw(tempfile);
my $what = shift // '';
if ($what eq 'tell') {
    print "$0: ", join('|', map { length } @ARGV), ' ', join('|', @ARGV), "\n";
    print "directory ", getcwd(), sprintf(" umask %04o warnings %d\n", umask, $^W);
    print "environment ", join(' ', map { "$_=$ENV{$_}" } grep { /^EB_/ } sort keys %ENV), "\n";
    print "input ", (-t STDIN ? 'terminal' : join('', <STDIN>));
    print STDERR "error of tell\n";
    if (open(my $three, '>&=', 3)) { print $three "to three\n" }
} elsif ($what eq 'nested') {
    print "before\n";
    system($0, 'tell', 'from inside') == 0 or exit 9;
    print "after\n";
    system($0, 'exit', 3);
    exit $? >> 8;
} elsif ($what eq 'other') {
    exec $0, @ARGV;
} elsif ($what eq 'exit') {
    exit shift;
} elsif ($what eq 'die') {
    $! = 0;
    die "it cannot be done\n";
} elsif ($what eq 'kill') {
    kill 'TERM', $$;
    sleep 10;
} elsif ($what eq 'falls off') {
    open(my $none, '<', '/nonexistent');
}
`

// TestWarmPerlIsPerl calls a program as it is and through warm.pl: it must neither notice nor do anything else.
func TestWarmPerlIsPerl(t *testing.T) {
	for _, tool := range []string{"perl", "unshare", "dash", "mkfifo"} {
		oracle.Need(t, tool)
	}
	for name, command := range map[string]string{
		"arguments and input": `echo some words | $program tell 'two words' '' 'a
line' 'quo"te' 3>&1`,
		"directory and umask": `mkdir "a b"; cd "a b"; umask 027; EB_ONE='1 2' EB_TWO= $program tell </dev/null`,
		"a file written to":   `exec >file; echo earlier; $program tell </dev/null; echo later; exec >&2; cat file`,
		"closed files":        `$program tell <&- 2>&-`,
		"exit code":           `$program exit 7`,
		"end of the file":     `$program 'falls off'`,
		"dies":                `$program die`,
		"is killed":           `sh -c "$program kill" 2>/dev/null`,
		"becomes another":     `$program other nested </dev/null`,
		"nested":              `$program nested </dev/null`,
		"at the same time":    `for i in 1 2 3 4; do $program tell $i </dev/null >out.$i 3>&1 & done; wait; cat out.*`,
		"more than slots":     `set -C; for i in 0 1 2; do : >/run/edgebake/perl/slot.$i; done; set +C; $program tell </dev/null`,
		"another language":    `LC_ALL=C.UTF-8 $program tell </dev/null`,
		"found by PATH":       `PATH=/run/bin:$PATH; program tell </dev/null`,
		"fifty one by one":    `for i in $(seq 50); do $program exit $((i % 3)); echo $?; done`,
		"output one by one":   `for i in $(seq 40); do $program tell $i </dev/null >>out 2>&1; $program nested </dev/null | grep -c after; done; cat out`,
		"adduser's usage":     `if [ -f /usr/sbin/adduser ]; then $0 /usr/sbin/adduser --help | head -n 3; fi`,
	} {
		t.Run(name, func(t *testing.T) {
			want := withWarmPerl(t, command, false)
			if got := withWarmPerl(t, command, true); got != want {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
}

// withWarmPerl runs a command with a /run of its own, where $program is the program above or the script that covers it.
func withWarmPerl(t *testing.T, command string, warm bool) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"warm.pl": string(warmPerl), "ask.sh": string(askPerl), "program": warmProgram} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all := "set -e; mount -t tmpfs none /run; mkdir -p /run/edgebake/perl /run/bin /run/work; cp " + dir + "/* /run/edgebake/perl; cd /run/edgebake/perl\n"
	if warm {
		// The last slot has no answer: what gets it runs the program itself.
		all += "mkfifo calls ready reply.0 reply.1 reply.2; exec 8<>ready; (exec 8<&-; perl warm.pl /run/edgebake/perl; echo cold 1<>ready) & read -r ready <&8; exec 8<&-\n" +
			"[ \"$ready\" = ready ] || { echo this kernel is too old; exit 1; }; cp ask.sh /run/bin/program\n"
	} else {
		all += "cp program /run/bin/program\n"
	}
	all += "cd /run/work; program=/run/bin/program; export LC_ALL=C; set +e\n(\n" + command + "\n)\necho code $?\n"
	if warm {
		all += "echo end >/run/edgebake/perl/calls; wait\n"
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--map-root-user", "dash", "-c", all)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.ReplaceAll(string(out), "/run/edgebake/perl/program", "/run/bin/program")
}
