#!/bin/sh
# Makes the directory $1 the root of a new mount and process namespace, with this system's programs in
# it, and waits there for ever. Run by: unshare --mount --pid --fork.
set -eu
r=$1
mount --make-rprivate /
mkdir -p "$r/host" "$r/proc" "$r/dev" "$r/tmp" "$r/usr/bin" "$r/usr/sbin" "$r/usr/lib" "$r/usr/lib64" "$r/usr/share"
mount --rbind / "$r/host"
for dir in bin lib64 share; do
	[ ! -d "/usr/$dir" ] || mount --bind "/usr/$dir" "$r/usr/$dir"
done
# The overlay's files lie in these, so they are directories of links.
for entry in /usr/lib/* /usr/sbin/*; do
	[ "$entry" = /usr/lib/systemd ] || [ -e "$r$entry" ] || [ -L "$r$entry" ] || ln -s "/host$entry" "$r$entry"
done
for dir in bin sbin lib lib64; do
	[ -e "$r/$dir" ] || ln -s "usr/$dir" "$r/$dir"
done
[ -L "$r/etc/alternatives" ] || ln -s /host/etc/alternatives "$r/etc/alternatives"
mount -t proc proc "$r/proc"
for node in null zero full random urandom; do
	: >"$r/dev/$node"
	mount --bind "/dev/$node" "$r/dev/$node"
done
exec chroot "$r" /usr/bin/env -i PATH=/stand-in:/usr/sbin:/usr/bin:/sbin:/bin \
	/bin/sh -c ': >/run/booted; trap : TERM; while :; do /usr/bin/sleep 1000 & wait; done'
