#!/bin/busybox sh
# shellcheck shell=dash
# The init of an image's initrd: loads the modules, finds the root file system that the kernel's
# command line names, mounts it and starts its init.
#
# Understood: root=LABEL=|UUID=|PARTUUID=|/dev/..., rootfstype=, rootflags=, rootdelay=SECONDS,
# rootwait (wait for ever), ro, rw, init=PATH, rescue (a shell instead of root).

export PATH=/bin

say() { echo "initrd: $*" >/dev/kmsg 2>/dev/null || echo "initrd: $*"; }

prepare() {
	/bin/busybox --install -s /bin
	mount -t proc -o nosuid,nodev,noexec proc /proc
	mount -t sysfs -o nosuid,nodev,noexec sys /sys
	mount -t devtmpfs -o nosuid,mode=0755 dev /dev
	mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
	while read -r module; do
		# A module whose hardware is not there may refuse: that is no fault.
		insmod "/modules/$module.ko" 2>/dev/null
	done </modules/order
}

read_cmdline() {
	root='' fstype=ext4 flags='' mode=ro init=/sbin/init limit=60 rescue=''
	# shellcheck disable=SC2013
	for word in $(cat /proc/cmdline); do
		case $word in
		root=*) root=${word#root=} ;;
		rootfstype=*) fstype=${word#rootfstype=} ;;
		rootflags=*) flags=,${word#rootflags=} ;;
		rootdelay=*) limit=${word#rootdelay=} ;;
		rootwait) limit=forever ;;
		init=*) init=${word#init=} ;;
		ro | rw) mode=$word ;;
		rescue) rescue=yes ;;
		esac
	done
}

# hex DEVICE OFFSET COUNT prints bytes as hexadecimal digits.
hex() { dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | hexdump -v -e '1/1 "%02x"'; }

# swap turns the bytes of a little-endian number around.
swap() { echo "$1" | sed 's/../& /g' | tr ' ' '\n' | grep . | tac | tr -d '\n'; }

# partuuid DISK NUMBER BLOCKSIZE prints the identity of a partition as the kernel writes it: the
# entry's GUID in a GPT, or the disk's signature and the partition's number in an MBR.
partuuid() {
	if [ "$(hex "$1" "$3" 8)" = 4546492050415254 ]; then
		table=$(printf '%d' "0x$(swap "$(hex "$1" $(($3 + 72)) 8)")")
		size=$(printf '%d' "0x$(swap "$(hex "$1" $(($3 + 84)) 4)")")
		guid=$(hex "$1" $((table * $3 + ($2 - 1) * size + 16)) 16)
		echo "$(swap "$(echo "$guid" | cut -c1-8)")-$(swap "$(echo "$guid" | cut -c9-12)")-$(swap "$(echo "$guid" | cut -c13-16)")-$(echo "$guid" | cut -c17-20)-$(echo "$guid" | cut -c21-32)"
	else
		printf '%s-%02x\n' "$(swap "$(hex "$1" 440 4)")" "$2"
	fi
}

find_partuuid() {
	wanted=$(echo "$1" | tr 'A-F' 'a-f')
	for part in /sys/class/block/*/partition; do
		[ -f "$part" ] || continue
		dir=$(readlink -f "${part%/partition}")
		name=${dir##*/}
		disk=${dir%/*}
		found=$(sed -n 's/^PARTUUID=//p' "$dir/uevent")
		[ -n "$found" ] || found=$(partuuid "/dev/${disk##*/}" "$(cat "$part")" "$(cat "$disk/queue/logical_block_size")")
		if [ "$found" = "$wanted" ]; then
			echo "/dev/$name"
			return 0
		fi
	done
	return 1
}

find_root() {
	case $root in
	LABEL=* | UUID=*) findfs "$root" 2>/dev/null ;;
	PARTUUID=*) find_partuuid "${root#PARTUUID=}" ;;
	/dev/*) [ -b "$root" ] && echo "$root" ;;
	*) return 1 ;;
	esac
}

# give_up leaves: the kernel then panics, and reboots when panic= says so.
give_up() {
	say "$*"
	say "kernel command line: $(cat /proc/cmdline)"
	say "block devices: $(cd /sys/class/block && echo *)"
	say "add the word rescue to the command line for a shell here"
	sleep 2
	exit 1
}

wait_for_root() {
	[ -n "$root" ] || give_up "the kernel command line has no root="
	waited=0
	until device=$(find_root); do
		if [ "$limit" != forever ] && [ "$waited" -ge $((limit * 5)) ]; then
			give_up "root file system $root was not found in $limit s"
		fi
		[ "$waited" -ne 50 ] || say "waiting for root file system $root"
		waited=$((waited + 1))
		usleep 200000
	done
}

start_root() {
	mount -t "$fstype" -o "$mode$flags" "$device" /root ||
		give_up "mounting $device ($root) as $fstype with $mode$flags did not work"
	# The link may be absolute, so what it names cannot be tested from here.
	[ -e "/root$init" ] || [ -L "/root$init" ] || give_up "$device ($root) has no $init"
	for dir in dev proc sys run; do
		mount -o move "/$dir" "/root/$dir" || give_up "$device ($root) has no /$dir to mount on"
	done
	exec switch_root -c /root/dev/console /root "$init" "$@"
}

prepare
read_cmdline
if [ -n "$rescue" ]; then
	say "rescue shell; leave it to go on"
	setsid cttyhack sh
fi
wait_for_root
start_root "$@"
