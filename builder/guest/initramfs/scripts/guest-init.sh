#!/bin/busybox sh
# shellcheck shell=dash
# The init of a configure job: mounts the scratch disk, repairs what was interrupted, runs the
# packages' preinst scripts or lets dpkg unpack packages, runs dpkg and the job's steps in it, and
# powers off. Everything the host needs to know goes to the console in lines that start with "@@EB ";
# what dpkg reports on its status descriptor goes there as well.
#
# The job's files:
#   /job/env       EPOCH=... CONF=words of dpkg's --force REPAIR=yes or nothing PLAIN=yes or nothing HOST_PYTHON=its version or none
#   /job/first     packages to configure one by one before all others
#   /job/preinst   lines "package architecture version path configure,these,first" ("-" is none); a path may be "-", too
#   /job/compile   calls of py3compile, as bytecompile.py reads them, that no script makes
#   /job/made      lines "program arguments": calls that need not be made
#   /job/debs      lines "package file configure,these,first" of packages on the second disk
#   /job/noop      programs of the image that do nothing meanwhile
#   /job/steps/    scripts run in their order after everything is configured

export PATH=/bin

say() { printf '\n@@EB %s\n' "$*"; }

end() {
	sync
	poweroff -f
	sleep 60
}

fail() {
	say "fail $*"
	release
	end
}

start() {
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	mount -t devtmpfs dev /dev
	echo 3 >/proc/sys/kernel/printk
	say "boot"
	while read -r module; do
		insmod "/modules/$module.ko" || say "note insmod $module failed"
	done </modules/order
	# shellcheck source=/dev/null
	. /job/env
	date -s "@$EPOCH" >/dev/null
	hostname localhost
}

# find_disk SERIAL waits for a disk and sets $disk.
find_disk() {
	local tries serial
	tries=0
	while :; do
		for serial in /sys/block/*/serial; do
			[ "$(cat "$serial" 2>/dev/null)" = "$1" ] || continue
			disk=${serial%/serial}
			disk=/dev/${disk##*/}
			[ -b "$disk" ] && return 0
		done
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || fail "mount no $1 disk appeared"
		usleep 100000
	done
}

mount_scratch() {
	say "step mount"
	find_disk scratch
	# Nobody reads the disk after a crash: no barriers, no ordering, no regular commits.
	mount -t ext4 -o noatime,barrier=0,data=writeback,commit=900 "$disk" /root ||
		mount -t ext4 -o noatime,barrier=0 "$disk" /root ||
		fail "mount the scratch disk cannot be mounted"
	for dir in proc sys dev run tmp; do
		[ -d "/root/$dir" ] || mkdir "/root/$dir"
	done
	mount -t proc proc /root/proc
	mount -t sysfs sys /root/sys
	mount -t devtmpfs dev /root/dev
	mkdir -p /root/dev/pts /root/dev/shm
	mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
	mount -t tmpfs -o mode=1777 shm /root/dev/shm
	mount -t tmpfs -o mode=755 run /root/run
	mount -t tmpfs -o mode=1777 tmp /root/tmp
	mkdir /root/run/lock /root/run/edgebake
	chmod 1777 /root/run/lock
	ln -sf /proc/self/fd /root/dev/fd
	ln -sf /proc/self/fd/0 /root/dev/stdin
	ln -sf /proc/self/fd/1 /root/dev/stdout
	ln -sf /proc/self/fd/2 /root/dev/stderr
	[ ! -d /job/steps ] || cp -r /job/steps /root/run/edgebake/
}

# Programs are covered by bind mounts, which leave nothing behind on the disk. A package that comes
# with a program cannot be unpacked while that is covered.
cover_programs() {
	local program
	while read -r program; do
		[ -f "/root$program" ] || continue
		mount --bind /root/run/edgebake/noop "/root$program" || fail "prepare covering $program"
	done </job/noop
	[ -z "$PLAIN" ] || return 0
	cover_perl
	cover_py3compile
	cover_certificates
	cover_library
	cover_systemd_helper
}

# ca-certificates updates /etc/ssl/certs in its postinst without the hooks, and again in the trigger
# that the postinst activates. Where there are no hooks the second does all that the first does. The program starts some
# 900 others; certificates.pl does the same as those of these digests: Debian 12's of 20230311 and of 20250419.
cover_certificates() {
	[ -f /root/usr/sbin/update-ca-certificates ] || return 0
	case $(sha256sum /root/usr/sbin/update-ca-certificates) in
	395364bffc7ce85ccbe2de71215f9c6c85c024af3bbd991c75a01c2d2aa3080a* | 2cb06c85b5f01c4f6b72c3983d9f66d44aac0a7ac997ee55e7e429aedbc3934d*)
		cp /certificates.pl /root/run/edgebake/ ;;
	*) rm -f /root/run/edgebake/certificates.pl ;;
	esac
	cp -p /root/usr/sbin/update-ca-certificates /root/run/edgebake/
	mount --bind /root/run/edgebake/certificates /root/usr/sbin/update-ca-certificates || fail "prepare covering update-ca-certificates"
}

# Starting Python for each package takes longer than compiling: calls of py3compile are noted, and
# bytecompile.py makes them, on the processor that dpkg leaves free.
cover_py3compile() {
	[ -f /root/usr/bin/py3compile ] || return 0
	cp /root/usr/bin/py3compile /root/run/edgebake/py3compile
	mount --bind /root/run/edgebake/note /root/usr/bin/py3compile || fail "prepare covering py3compile"
}

# deb-systemd-helper is called three times for each unit, and each starts Perl. Where nothing is
# masked and no state was saved, two of the calls only say so.
cover_systemd_helper() {
	[ -f /root/usr/bin/deb-systemd-helper ] || return 0
	cp -p /root/usr/bin/deb-systemd-helper /root/run/edgebake/perl/
	mount --bind /root/run/edgebake/systemd-helper /root/usr/bin/deb-systemd-helper || fail "prepare covering deb-systemd-helper"
}

# dpkg writes each state of each package into a file of its own in updates, and waits until it is on the disk; in the end all
# of them are in its status, and the directory is empty. In memory there is nothing to wait for.
cover_updates() {
	[ -z "$PLAIN" ] && [ -d "$updates" ] && [ -z "$(ls -A "$updates")" ] || return 0
	mount -t tmpfs -o mode=755 updates "$updates" || fail "prepare covering $updates"
	: >/updates-covered
}

# dpkg wrote into the directory, so it has its time.
uncover_updates() {
	[ -e /updates-covered ] || return 0
	rm /updates-covered
	[ -z "$(ls -A "$updates")" ] || say "note dpkg left something in $updates"
	umount "$updates" && touch "$updates"
}

# Programs in Perl that load much: warm.pl has it loaded. A program that a later package replaces comes after the last cover.
cover_perl() {
	local program ready
	rm -rf /root/run/edgebake/perl
	mkdir /root/run/edgebake/perl
	[ -x /root/usr/bin/perl ] || return 0
	cp /warm.pl /ask.sh /root/run/edgebake/perl/
	# One answer for each call that waits at the same time; more than these run as they would without.
	(cd /root/run/edgebake/perl && mkfifo calls ready reply.0 reply.1 reply.2 reply.3 reply.4 reply.5 reply.6 reply.7 reply.8 reply.9)
	exec 8<>/root/run/edgebake/perl/ready
	(
		exec 8<&-
		inside chroot /root /usr/bin/perl /run/edgebake/perl/warm.pl /run/edgebake/perl
		echo cold 1<>/root/run/edgebake/perl/ready
	) &
	read -r ready <&8
	exec 8>&-
	if [ "$ready" != ready ]; then
		rm /root/run/edgebake/perl/calls
		return 0
	fi
	for program in $perl_programs; do
		[ -f "/root$program" ] || continue
		cp -p "/root$program" /root/run/edgebake/perl/
		mount --bind /root/run/edgebake/perl/ask.sh "/root$program" || fail "prepare covering $program"
	done
	ln -sf adduser /root/run/edgebake/perl/addgroup
}

uncover_perl() {
	local program
	for program in $perl_programs; do
		umount "/root$program" 2>/dev/null
	done
	[ ! -p /root/run/edgebake/perl/calls ] || echo end 1<>/root/run/edgebake/perl/calls
	rm -f /root/run/edgebake/perl/calls
}

# The packages of Python itself compile the standard library by its own py_compile.py. One that was
# compiled before is left alone.
cover_library() {
	local file version
	[ -f /root/run/edgebake/py3compile ] || return 0
	for file in /root/usr/lib/python3.*/py_compile.py; do
		[ -f "$file" ] || continue
		set -- "${file%/*}"/__pycache__/py_compile.*
		[ ! -e "$1" ] || continue
		version=${file%/py_compile.py}
		cp -p "$file" "/root/run/edgebake/${version##*/}.py"
		cp /pycompile.py "/root/run/edgebake/"
		mount --bind /root/run/edgebake/pycompile.py "$file" || fail "prepare covering py_compile.py"
	done
}

# collect starts bytecompile.py, at once when the job has calls for it, otherwise with the first that is noted: there may be no
# Python before. What notes
# calls writes the line "wake", and then the call.
collect() {
	[ -z "$PLAIN" ] || return 0
	cp /bytecompile.py /root/run/edgebake/
	cp /job/compile /root/run/edgebake/calls.known
	rm -f /root/run/edgebake/calls /root/run/edgebake/collected
	mkfifo /root/run/edgebake/calls
	# For reading, too: opening does not wait for a reader then, and the reader sees no end between two calls.
	exec 7<>/root/run/edgebake/calls
	(
		if [ ! -s /job/compile ]; then
			read -r first <&7
			[ "$first" = wake ] || exit 0
		fi
		: >/root/run/edgebake/collected
		inside chroot /root /usr/bin/nice -n 5 /usr/bin/python3 /run/edgebake/bytecompile.py "$HOST_PYTHON" /.edgebake/asked 64 /run/edgebake/py3compile \
			/run/edgebake/calls.known /run/edgebake/calls 7<&-
	) &
	collector=$!
}

byte_compile() {
	local code
	[ -n "$collector" ] || return 0
	[ ! -e /root/run/edgebake/collected ] || say "package python3 byte-compiling"
	echo end >&7
	exec 7>&-
	wait "$collector"
	code=$?
	collector=
	[ "$code" -eq 0 ] || fail "script python3 byte-compiling $code"
}

# late_compile compiles what was covered before.
late_compile() {
	local code
	[ -s /root/run/edgebake/calls.late ] || return 0
	inside chroot /root /usr/bin/python3 /run/edgebake/bytecompile.py "$HOST_PYTHON" /.edgebake/asked 64 /run/edgebake/py3compile /run/edgebake/calls.late
	code=$?
	[ "$code" -eq 0 ] || fail "script python3 byte-compiling $code"
	rm /root/run/edgebake/calls.late
}

# Programs that take long, and that nothing waits for, run beside dpkg, on the other processor. One that is called again
# waits until its earlier call is over. The scripts find these before the programs themselves, by PATH: packages
# call programs by name (Debian Policy, 6.1).
run_beside() {
	[ -z "$PLAIN" ] || return 0
	mkdir /root/run/edgebake/bin
	[ "$CONF" != confnew ] || : >/root/run/edgebake/fresh
	cat >/root/run/edgebake/bin/depmod <<-'END'
		#!/bin/sh
		PATH=${PATH#/run/edgebake/bin:}
		name=${0##*/}
		command -v flock >/dev/null && command -v "$name" >/dev/null || exec "$name" "$@"
		exec 8>>"/run/edgebake/beside.$name" 9>>/run/edgebake/beside
		flock -x 8 && flock -s 9 || exit
		# All packages of a fresh system are there from the start: the same call again would only make the same.
		made=/run/edgebake/made.$name
		! [ -e /run/edgebake/fresh ] || [ "$name" = locale-gen ] || ! grep -qxF -e "$*" "$made" 2>/dev/null || exit 0
		{
			if nice -n "${AHEAD:-0}" "$name" "$@"; then
				echo "$*" >>"$made"
			elif [ -z "$AHEAD" ]; then
				echo "${DPKG_MAINTSCRIPT_PACKAGE:-dpkg} $name $?" >>/run/edgebake/beside.failed
			fi
		} </dev/null >>/run/edgebake/beside.log 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- &
	END
	# The image has no host keys: the first boot makes them.
	cat >/root/run/edgebake/bin/ssh-keygen <<-'END'
		#!/bin/sh
		[ "$DPKG_MAINTSCRIPT_PACKAGE:$DPKG_MAINTSCRIPT_NAME" != openssh-server:postinst ] || exit 0
		PATH=${PATH#/run/edgebake/bin:}
		exec ssh-keygen "$@"
	END
	# It looks whether the locale is there, unless it is told not to.
	cat >/root/run/edgebake/bin/update-locale <<-'END'
		#!/bin/sh
		PATH=${PATH#/run/edgebake/bin:}
		[ "$1" = --no-checks ] || ! [ -e /run/edgebake/beside.locale-gen ] ||
			flock -x /run/edgebake/beside.locale-gen true
		exec update-locale "$@"
	END
	chmod 755 /root/run/edgebake/bin/*
	ln -s depmod /root/run/edgebake/bin/locale-gen
	ln -s depmod /root/run/edgebake/bin/systemd-hwdb
	beside=/run/edgebake/bin:
}

# ahead begins at once, beside dpkg, what packages of a fresh system will call for much later: what the programs read does not
# change until then. When it fails, the package's own call is made.
ahead() {
	local map version program arguments
	[ -z "$PLAIN" ] && [ "$CONF" = confnew ] || return 0
	while read -r program arguments; do
		echo "$arguments" >>"/root/run/edgebake/made.$program"
	done </job/made
	for map in /root/boot/System.map-*; do
		version=${map##*/System.map-}
		grep -qsxF "depmod \$version" "/root/var/lib/dpkg/info/linux-image-$version.postinst" || continue
		[ -n "$(ls -A /root/etc/depmod.d 2>/dev/null)" ] || inside AHEAD=10 chroot /root /run/edgebake/bin/depmod "$version"
	done
	if grep -qs "systemd-hwdb --usr update" /root/var/lib/dpkg/info/udev.postinst &&
		[ -z "$(ls -A /root/etc/udev/hwdb.d 2>/dev/null)" ]; then
		inside AHEAD=10 chroot /root /run/edgebake/bin/systemd-hwdb --usr update
	fi
}

# join_beside waits for the programs that run beside dpkg.
join_beside() {
	[ -e /root/run/edgebake/beside ] || return 0
	say "package dpkg beside"
	inside chroot /root /usr/bin/flock -x /run/edgebake/beside /bin/true
	if [ -s /root/run/edgebake/beside.failed ]; then
		cat /root/run/edgebake/beside.log
		fail "script $(head -n 1 /root/run/edgebake/beside.failed)"
	fi
	rm /root/run/edgebake/beside
}

# alone waits for all that runs beside dpkg.
alone() {
	byte_compile
	join_beside
}

uncover_programs() {
	local file
	for file in /root/usr/lib/python3.*/py_compile.py; do
		umount "$file" 2>/dev/null
	done
	uncover_perl
	umount /root/usr/bin/deb-systemd-helper 2>/dev/null
	umount /root/usr/bin/py3compile 2>/dev/null
	umount /root/usr/sbin/update-ca-certificates 2>/dev/null
	tac /job/noop | while read -r program; do
		umount "/root$program" 2>/dev/null
	done
}

cover() {
	say "step prepare"
	printf '#!/bin/sh\nexit 0\n' >/root/run/edgebake/noop
	printf '#!/bin/sh\nexit 101\n' >/root/run/edgebake/policy-rc.d
	cat >/root/run/edgebake/note <<-'END'
		#!/bin/sh
		{
			echo wake
			[ "$#" -eq 0 ] || printf '%s\037' "$@"
			echo
		} >/run/edgebake/calls
	END
	cat >/root/run/edgebake/certificates <<-'END'
		#!/bin/sh
		case "$#:$1:$2:$DPKG_MAINTSCRIPT_PACKAGE:$(ls -A /etc/ca-certificates/update.d 2>/dev/null)" in
		2:--hooksdir::ca-certificates:) exit 0 ;;
		0::::|0:::ca-certificates:)
			if [ -e /run/edgebake/certificates.pl ] && [ -s /etc/ca-certificates.conf ] &&
				[ -z "$(ls -A /usr/local/share/ca-certificates 2>/dev/null)" ]; then
				exec perl /run/edgebake/certificates.pl
			fi ;;
		esac
		exec /run/edgebake/update-ca-certificates "$@"
	END
	cat >/root/run/edgebake/systemd-helper <<-'END'
		#!/bin/sh
		state=/var/lib/systemd/deb-systemd-helper
		case "$#:$DPKG_ROOT:$DPKG_MAINTSCRIPT_PACKAGE:$*" in
		*:*:*:*/*) ;;
		2::?*:"unmask "*)
			if [ -e "/lib/systemd/system/$2" ] && [ ! -e "/etc/systemd/system/$2" ] &&
				[ ! -e "$state-masked" ] && [ ! -e /var/lib/systemd/deb-systemd-user-helper-masked ]; then
				exit 0
			fi ;;
		3::?*:"--quiet was-enabled "*)
			if [ -e "/lib/systemd/system/$3" ] && [ ! -e "$state-enabled/$3.dsh-also" ]; then
				exit 0
			fi ;;
		esac
		[ ! -p /run/edgebake/perl/calls ] || . /run/edgebake/perl/ask.sh
		exec /run/edgebake/perl/deb-systemd-helper "$@"
	END
	chmod 755 /root/run/edgebake/certificates /root/run/edgebake/systemd-helper
	chmod 755 /root/run/edgebake/noop /root/run/edgebake/policy-rc.d /root/run/edgebake/note
	cover_programs
	collect
	run_beside
	ahead
	cover_updates
	policy_time=
	if [ ! -e /root/usr/sbin/policy-rc.d ]; then
		mkdir -p /root/usr/sbin
		policy_time=$(stat -c %Y /root/usr/sbin)
		: >/root/usr/sbin/policy-rc.d
	fi
	mount --bind /root/run/edgebake/policy-rc.d /root/usr/sbin/policy-rc.d || fail "prepare covering policy-rc.d"
}

# Programs of the image are named by their full path: busybox would run its own otherwise.
inside() {
	env -i PATH="$beside"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root TERM=dumb LC_ALL=C LANG=C DEBIAN_FRONTEND=noninteractive DPKG_COLORS=never \
		DEBCONF_NONINTERACTIVE_SEEN=true \
		SYSTEMD_OFFLINE=1 SYSTEMD_IN_CHROOT=1 "$@" </dev/null
}

# dpkg's status lines and its scripts' output share the console, so that they stay in order.
run_dpkg() {
	inside chroot /root /usr/bin/dpkg --force-unsafe-io "--force-$CONF" --abort-after=1 --status-fd 3 "$@" 3>/dev/console
}

# Nobody else runs here: whatever holds a lock is of another life.
repair() {
	[ -n "$REPAIR" ] || return 0
	say "step repair"
	rm -f /root/var/lib/dpkg/lock /root/var/lib/dpkg/lock-frontend \
		/root/var/lib/apt/lists/lock /root/var/cache/apt/archives/lock
	run_dpkg --configure -a || fail "repair configure -a"
}

unpack() {
	[ "$#" -gt 0 ] || return 0
	alone # it may be their files that are replaced now
	uncover_programs
	late_compile
	say "step unpack"
	# As apt does: what a new package breaks, and what is to be replaced later, makes room.
	run_dpkg --no-triggers --auto-deconfigure --unpack "$@" || fail "unpack"
	list_unpacked
	cover_programs
	collect
}

# needs PRE-DEPENDS PENDING: one of the packages is among those not configured yet.
needs() {
	local name
	for name in $(echo "$1" | tr ',' ' '); do
		case " $2 " in *" $name "*) return 0 ;; esac
	done
	return 1
}

# dpkg refuses to unpack a package before its Pre-Depends are configured: a batch ends there.
install_debs() {
	local package file before pending
	[ -s /job/debs ] || return 0
	find_disk debs
	mkdir /root/run/edgebake/debs
	mount -t ext4 -o ro "$disk" /root/run/edgebake/debs || fail "mount the disk of packages cannot be mounted"
	pending=
	set --
	while read -r package file before; do
		if needs "$before" "$pending"; then
			unpack "$@"
			set --
			# Package names hold no blanks or patterns.
			# shellcheck disable=SC2046
			configure_now $(echo "$before" | tr ',' ' ')
		fi
		pending="$pending $package"
		set -- "$@" "/run/edgebake/debs/$file"
	done </job/debs
	unpack "$@"
}

# list_unpacked puts the names of all packages that are only unpacked into $unpacked. dpkg-query would take longer.
list_unpacked() {
	unpacked=$(awk '$1 == "Package:" { name = $2 } $1 == "Status:" && $4 == "unpacked" { print name }' /root/var/lib/dpkg/status | tr '\n' ' ')
}

# configure_now configures those of the packages that are only unpacked.
configure_now() {
	local package new
	new=
	for package in "$@"; do
		case " $configured $new " in *" $package "*) continue ;; esac
		case " $unpacked " in *" $package "*) new="$new $package" ;; esac
	done
	[ -n "$new" ] || return 0
	# Package names hold no blanks or patterns.
	# shellcheck disable=SC2086
	set -- $new
	say "package $1 configure"
	run_dpkg --force-depends --no-triggers --configure "$@" || fail "configure $*"
	configured="$configured $*"
}

# preinst PACKAGE ARCHITECTURE VERSION PATH CONFIGURE-FIRST
preinst() {
	local code
	if [ "$5" != - ]; then
		# Package names hold no blanks or patterns.
		# shellcheck disable=SC2046
		configure_now $(echo "$5" | tr ',' ' ')
	fi
	[ "$4" != - ] || return 0
	[ -f "/root$4" ] || fail "preinst $1: there is no $4"
	say "package $1 preinst"
	inside chroot /root /usr/bin/env DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 \
		DPKG_MAINTSCRIPT_ARCH="$2" DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_DEBUG=0 \
		DPKG_RUNNING_VERSION="$DPKG_VERSION" DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT='' \
		DPKG_FORCE=unsafe-io,confnew "$4" install
	code=$?
	[ "$code" -eq 0 ] || fail "script $1 preinst $code"
}

run_preinsts() {
	local package name arch version path before
	DPKG_VERSION=$(inside chroot /root /usr/bin/dpkg-query --version | sed -n '1s/.*version \([^ ]*\).*/\1/p')
	# The essential base first: its preinst scripts, then its configuration.
	while read -r package; do
		while read -r name arch version path before; do
			[ "$name" != "$package" ] || preinst "$name" "$arch" "$version" "$path" "$before"
		done </job/preinst
		configure_now "$package"
	done </job/first
	while read -r name arch version path before; do
		grep -qxF "$name" /job/first || preinst "$name" "$arch" "$version" "$path" "$before"
	done </job/preinst
}

configure() {
	say "step configure"
	run_dpkg --configure -a || fail "configure -a"
	# shellcheck disable=SC2016
	if inside chroot /root /usr/bin/dpkg-query -W -f '${db:Status-Status}\n' | grep -q triggers-; then
		say "step triggers"
		run_dpkg --triggers-only -a || fail "configure triggers"
	fi
	# What comes now finds all programs but the boot files' as they are.
	alone
	[ -z "$(ls -A "$updates")" ] || fail "configure dpkg left something in $updates"
	uncover_updates
	uncover_programs
	late_compile
	beside=
	PLAIN=yes
	cover_programs
	say "step audit"
	# A system that was in use may have had things dpkg --audit dislikes; it must have none half done.
	if [ "$CONF" = confnew ]; then
		audit=$(inside chroot /root /usr/bin/dpkg --audit 2>&1)
	else
		# shellcheck disable=SC2016
		audit=$(inside chroot /root /usr/bin/dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' |
			grep -vE '^(installed|config-files|not-installed) ')
	fi
	if [ -n "$audit" ]; then
		echo "$audit"
		fail "audit packages are not configured"
	fi
}

run_steps() {
	[ -d /job/steps ] || return 0
	for step in /job/steps/*; do
		name=${step##*/}
		say "package $name step"
		inside chroot /root /bin/sh -e "/run/edgebake/steps/$name"
		code=$?
		[ "$code" -eq 0 ] || fail "script $name step $code"
	done
}

kill_left_over() {
	for process in /proc/[0-9]*; do
		case $(readlink "$process/root" 2>/dev/null) in
		/root*) kill -9 "${process#/proc/}" ;;
		esac
	done
}

# release takes the disk's mounts away, so that the file system is clean.
release() {
	say "step release"
	kill_left_over
	uncover_updates
	tac /proc/mounts | while read -r _ target _; do
		case $target in
		/root/*) umount "$target" || umount -l "$target" ;;
		esac
	done
	if [ -n "$policy_time" ]; then
		rm -f /root/usr/sbin/policy-rc.d
		touch -d "@$policy_time" /root/usr/sbin
	fi
	sync
	if umount /root; then
		say "clean"
	else
		mount -o remount,ro /root && say "clean"
	fi
}

perl_programs="/usr/share/debconf/frontend /usr/share/debconf/fix_db.pl /usr/sbin/adduser /usr/sbin/update-rc.d
	/usr/sbin/pam-auth-update /usr/sbin/update-locale /usr/bin/linux-update-symlinks"
updates=/root/var/lib/dpkg/updates
policy_time=
collector=
beside=
configured=
unpacked=
start
mount_scratch
cover
repair
list_unpacked
run_preinsts
install_debs
configure
run_steps
release
say "done"
end
