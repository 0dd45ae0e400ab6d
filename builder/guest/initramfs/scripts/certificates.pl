# Does what Debian 12's update-ca-certificates does without arguments where there are no hooks and no certificates of
# one's own, in one process instead of six for each certificate. guest-init.sh has the digest of that program, and
# uses no other.
use strict;
use warnings;

my ($source, $conf, $etc, $bundle) = ("/usr/share/ca-certificates", "/etc/ca-certificates.conf", "/etc/ssl/certs", "ca-certificates.crt");
my ($added, $removed) = (0, 0);
umask 022;
$| = 1;
chdir $etc or die "chdir $etc: $!";
print "Updating certificates in $etc...\n";

open my $list, "<", $conf or die "open $conf: $!";
my @lines = grep { $_ ne "" } map { s/^[ \t]+|[ \t\n]+$//gr } <$list>;

# The names of links that go are not changed as those that come are: so does the program.
for my $line (grep { /^!/ } @lines) {
	my $pem = "$etc/" . (substr($line, 1) =~ s{.*/}{}r =~ s/(?<=.)\.crt$//r) . ".pem";
	next unless -l $pem;
	unlink $pem or die "unlink $pem: $!";
	$removed++;
}

my $out;
for my $line (grep { !/^[#!]/ } @lines) {
	my $file = "$source/$line";
	if (!-f $file) {
		print STDERR "W: $file not found, but listed in $conf.\n";
		next;
	}
	my $pem = "$etc/" . ($line =~ s{.*/}{}r =~ s/(?<=.)\.crt$//r =~ tr/ (),/_==_/r) . ".pem";
	if (!-e $pem || (readlink($pem) // "") ne $file) {
		unlink $pem;
		symlink $file, $pem or die "symlink $pem: $!";
		$added++;
	}
	defined $out or open $out, ">", "$bundle.new" or die "open $bundle.new: $!";
	open my $in, "<", $file or die "open $file: $!";
	local $/;
	my $text = <$in> // "";
	$text .= "\n" if $text ne "" && $text !~ /\n\z/;
	print $out $text or die "write $bundle.new: $!";
}

if ($added + $removed > 0) {
	opendir my $dir, $etc or die "opendir $etc: $!";
	for my $name (readdir $dir) {
		unlink $name if -l $name && !-e $name;
	}
	system("openssl rehash . >/dev/null") == 0 or die "openssl rehash: $?";
}
if (defined $out) {
	close $out or die "close $bundle.new: $!";
	rename "$bundle.new", $bundle or die "rename $bundle: $!";
}
print "$added added, $removed removed; done.\n";
