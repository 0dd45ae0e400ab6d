# Runs Perl programs of packages in copies of itself that have loaded already what they load.
#
# Usage: warm.pl DIRECTORY
#
# Where a processor is emulated, loading debconf takes a second, and some fifty of a Debian system's scripts use it or
# another such program. Each of these programs is covered by a shell script that writes its process and the number of its slot
# to DIRECTORY/calls, waits, and ends with the code that it reads from DIRECTORY/reply.SLOT. Meanwhile a copy of this process
# becomes what the program would be: with the same arguments, environment, directory, umask and open files (0 to 9), which it
# takes from the waiting process. Then it runs DIRECTORY/PROGRAM, the program itself. The word "real" instead of a code
# tells the script to run it. A line "end" ends this process.

package Edgebake::Warm;
use strict;
use warnings;
use POSIX ();

use constant { PIDFD_OPEN => 434, PIDFD_GETFD => 438 }; # on all architectures, since Linux 5.3 and 5.6
use constant FILES => 10; # of a caller; the shell keeps its own above them

my $dir = shift @ARGV;

# content returns what is in a file, or nothing when it is gone.
sub content {
    open(my $file, '<', $_[0]) or return '';
    local $/;
    return scalar(<$file>) // '';
}

# take returns a copy of another process's open file.
sub take {
    my ($process, $number) = @_;
    my $copy = syscall(PIDFD_GETFD, $process + 0, $number + 0, 0);
    return $copy < 0 ? undef : $copy;
}

# locales are what modules look at when they are loaded.
sub locales {
    my ($env) = @_;
    return join("\0", map { "$_=$env->{$_}" } grep { /^(?:LC_|LANG|PERL5|PERLIO)/ } sort keys %$env);
}

# describe returns what the process was started with, or nothing when it cannot be run here.
sub describe {
    my ($pid) = @_;
    my (undef, $path, @arguments) = split(/\0/, content("/proc/$pid/cmdline"), -1);
    pop @arguments; # behind the last byte
    my %env = map { /^([^=]+)=(.*)$/s ? ($1, $2) : () } split(/\0/, content("/proc/$pid/environ"));
    my ($name) = ($path // '') =~ m{([^/]+)$} or return;
    my ($umask) = content("/proc/$pid/status") =~ /^Umask:\s*([0-7]+)/m or return;
    my $program = "$dir/$name";
    return unless -f $program && locales(\%env) eq locales(\%ENV);
    return { path => $path, program => $program, arguments => \@arguments, env => \%env, umask => oct($umask) };
}

# become gives this process the open files and the directory of the other.
sub become {
    my ($caller, $call) = @_;
    my @files = map { take($caller->{process}, $_) } 0 .. FILES - 1;
    for my $number (0 .. FILES - 1) {
        if (defined $files[$number]) {
            defined POSIX::dup2($files[$number], $number) or die "file $number: $!\n";
            POSIX::close($files[$number]);
        } else {
            POSIX::close($number);
        }
    }
    chdir("/proc/$caller->{pid}/cwd") or die "directory of process $caller->{pid}: $!\n";
    umask($call->{umask});
    %ENV = %{ $call->{env} };
}

# run is the rest of a copy's life.
sub run {
    my ($caller, $call) = @_;
    become($caller, $call);
    my ($first) = content($call->{program}) =~ /\A(.*)/;
    @ARGV = @{ $call->{arguments} };
    $0 = $call->{path};
    $^T = time;
    $^W = $first =~ /\s-\w*w/ ? 1 : 0;
    do $call->{program};
    die $@ if $@;
    exit 0;
}

# ready says whether there is something to read, which for a process is that it has ended.
sub ready {
    my ($file, $seconds) = @_;
    my $files = '';
    vec($files, $file, 1) = 1;
    return select($files, undef, undef, $seconds) > 0;
}

# reply writes a word to a waiting process, if it still is there.
sub reply {
    my ($caller, $word) = @_;
    my $file;
    until (sysopen($file, "$dir/reply.$caller->{slot}", POSIX::O_WRONLY | POSIX::O_NONBLOCK)) {
        return if ready($caller->{process}, 0.002); # otherwise it comes: it has nothing else to do
    }
    syswrite($file, "$word\n");
}

# What is there by the number of a file that can be read when a process has ended: copies, and those who wait for them.
my (%copies, %callers);

# call starts a copy for a process that waits. Its slot is in use until it has ended, since only then it has read its answer.
sub call {
    my ($pid, $slot) = @_;
    my $process = syscall(PIDFD_OPEN, $pid + 0, 0);
    return unlink("$dir/slot.$slot") if $process < 0; # it was killed
    my $caller = $callers{$process} = { pid => $pid, slot => $slot, process => $process };
    my $call = describe($pid) or return reply($caller, 'real');
    my $child = fork;
    return reply($caller, 'real') unless defined $child;
    if ($child == 0) {
        eval { run($caller, $call); 1 } or print STDERR $@;
        exit 255;
    }
    # Not a pipe, which would be closed when the copy becomes something else by exec.
    my $copy = syscall(PIDFD_OPEN, $child + 0, 0);
    die "process $child cannot be opened: $!\n" if $copy < 0; # callers wait in vain then, and the host ends it
    $copies{$copy} = { child => $child, caller => $caller };
}

# ended tells the caller how its program ended; a signal is what a shell makes of it.
sub ended {
    my ($copy) = @_;
    waitpid($copy->{child}, 0);
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    reply($copy->{caller}, $code);
}

# able says whether this kernel lets a process take another one's open files.
sub able {
    my $process = syscall(PIDFD_OPEN, $$ + 0, 0);
    return 0 if $process < 0;
    my $copy = take($process, 0);
    POSIX::close($process);
    return 0 unless defined $copy;
    POSIX::close($copy);
    return 1;
}

# modules are what adduser, debconf and the helpers of init systems load. Debconf::Client::ConfModule is not one of them: it
# changes standard output when it is loaded.
sub modules {
    my @debconf = (qw(Db Template AutoSelect Log ConfModule FrontEnd::Noninteractive Format::822),
        map({ "DbDriver::$_" } qw(File Stack Copy Cache)),
        map({ "Element::Noninteractive::$_" } qw(Boolean Error Multiselect Note Password Progress Select String Text)));
    return (qw(strict warnings constant Carp Config Cwd Data::Dumper Encode Errno Fcntl File::Basename File::Copy File::Path
        File::Temp FileHandle Getopt::Long I18N::Langinfo IO::File IO::Handle IPC::Open2 IPC::Open3 List::Util Locale::gettext
        Scalar::Util Storable Symbol Text::Tabs Text::Wrap Debian::AdduserCommon), map { "Debconf::$_" } @debconf);
}

# load loads modules; those that are missing will be missed by who needs them.
sub load {
    for my $module (@_) {
        (my $file = "$module.pm") =~ s{::}{/}g;
        eval { require $file; 1 } or delete $INC{$file};
    }
}

sub serve {
    my ($calls) = @_;
    my $text = '';
    while (1) {
        my $files = '';
        vec($files, $_, 1) = 1 for fileno($calls), keys %copies, keys %callers;
        next if select($files, undef, undef, undef) < 0;
        for my $process (grep { vec($files, $_, 1) } keys %copies) {
            ended(delete $copies{$process});
            POSIX::close($process);
        }
        for my $process (grep { vec($files, $_, 1) } keys %callers) {
            my $caller = delete $callers{$process};
            unlink("$dir/slot.$caller->{slot}");
            POSIX::close($process);
        }
        next unless vec($files, fileno($calls), 1);
        sysread($calls, $text, 4096, length $text) or return;
        while ($text =~ s/^(.*)\n//) {
            my $line = $1;
            return if $line eq 'end';
            my ($pid, $slot) = $line =~ /^([0-9]+) ([0-9]+)$/ or die "a call says '$line'\n";
            call($pid, $slot);
        }
    }
}

# The numbers below FILES are for the copies.
while (1) {
    my $number = POSIX::open('/dev/null', POSIX::O_RDWR);
    next if defined $number && $number < FILES;
    POSIX::close($number) if defined $number;
    last;
}
able() or exit 1;
sysopen(my $calls, "$dir/calls", POSIX::O_RDWR) or exit 1; # for writing, too: no end between two callers
open(my $ready, '+<', "$dir/ready") or exit 1;
syswrite($ready, "ready\n");
close($ready);
load(modules());
serve($calls);
