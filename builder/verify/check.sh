#!/bin/sh
# Looks at a booted system from inside and prints what it finds on every console, one JSON object
# a line after "@@EB ", then powers off. It is started detached by cloud-init in every boot, in the
# environment of the file "env" next to it:
#   EB_CHECKS  names of the checks, in order
#   EB_FLAGS   kernel parameters that have to be there
#   EB_LIMIT   seconds that the system may take to come up
#   EB_EPOCH   the clock has to be later than this (seconds since 1970)
set -u
dir=${0%/*}
# shellcheck disable=SC1091 # written next to this script by the seed
. "$dir/env"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C PATH

# The kernel's log reaches every console whole, also one that has no device file (a Raspberry Pi's
# first UART, which belongs to Bluetooth) or that nobody reads (its second one, in QEMU).
say() {
	printf '<0>@@EB %s\n' "$1" >/dev/kmsg
}

clean() { # text as the inside of a JSON string
	printf '%s' "$1" | tr '\n\t' '  ' | tr -cd '[:print:]' | sed 's/[\\"]/_/g' | cut -c 1-400
}

result() { # NAME true|false DETAIL
	line="{\"check\":\"$1\",\"ok\":$2,\"detail\":\"$(clean "$3")\"}"
	printf '%s\n' "$line" >>"$dir/results"
	say "$line"
}

now() { # seconds since the kernel started
	cut -d . -f 1 /proc/uptime
}

wait_for() { # COMMAND...: until it succeeds or the time is up; the machine has better to do than to be asked
	while ! "$@" >/dev/null 2>&1; do
		[ "$(now)" -lt "$EB_LIMIT" ] || return 1
		sleep 2
	done
}

check_multi_user() {
	if wait_for systemctl -q is-active multi-user.target; then
		say '{"milestone":"multi-user"}'
		result multi-user true "after $(now) s of guest time"
	else
		result multi-user false "not after $(now) s; jobs: $(systemctl list-jobs --no-legend --plain 2>&1 | head -n 5)"
	fi
}

# The file comes at the very end, and looking for it costs nothing; cloud-init itself takes seconds to start.
cloud_init_ended() {
	[ -e /run/cloud-init/result.json ] && cloud-init status 2>/dev/null | grep -Eq '^status: (done|error|degraded|disabled)'
}

check_cloud_init() {
	if ! wait_for cloud_init_ended; then
		result cloud-init false "not done after $(now) s: $(cloud-init status --long 2>&1)"
		return
	fi
	code=0
	out=$(cloud-init status --long 2>&1) || code=$?
	say '{"milestone":"cloud-init"}'
	case $code in
	0 | 2) result cloud-init true "$out" ;;
	*) result cloud-init false "code $code: $out" ;;
	esac
}

no_job_runs() {
	[ -z "$(systemctl list-jobs --no-legend --plain 2>/dev/null)" ]
}

check_failed_units() {
	wait_for no_job_runs
	failed=$(systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1)
	if [ -z "$failed" ]; then
		result no-failed-units true "none"
		return
	fi
	detail=
	for unit in $failed; do
		detail="$detail $unit: $(journalctl -b -u "$unit" -n 3 -o cat --no-pager 2>&1);"
	done
	result no-failed-units false "$detail"
}

check_cmdline() {
	missing=
	line=" $(cat /proc/cmdline) "
	for flag in $EB_FLAGS; do
		case $line in
		*" $flag "*) ;;
		*) missing="$missing $flag" ;;
		esac
	done
	if [ -z "$missing" ]; then
		result cmdline-flags true "$line"
	else
		result cmdline-flags false "missing:$missing; there is:$line"
	fi
}

check_memory_cgroup() {
	if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		result memory-cgroup true "cgroup v2: $(cat /sys/fs/cgroup/cgroup.controllers)"
	elif awk '$1 == "memory" && $4 == 1 { on = 1 } END { exit !on }' /proc/cgroups; then
		result memory-cgroup true "cgroup v1"
	else
		result memory-cgroup false "$(cat /proc/cgroups)"
	fi
}

# A gRPC call by hand: an empty message is one byte of flags and four of length, all zero. CRI-O 1.20
# speaks the older version of the interface alone, as edgecore 1.8 does.
cri_version() {
	socket=/run/containerd/containerd.sock service=runtime.v1.RuntimeService
	if [ -e /etc/crio ]; then
		socket=/var/run/crio/crio.sock service=runtime.v1alpha2.RuntimeService
	fi
	head -c 5 /dev/zero | curl --silent --show-error --max-time 30 --http2-prior-knowledge \
		--unix-socket $socket -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- \
		http://localhost/$service/Version | tr -c '[:print:]' ' '
}

cri_answers() {
	cri_version | grep -q -e containerd -e cri-o
}

check_cri() {
	if ! command -v curl >/dev/null; then
		result cri false "curl is not installed, the CRI socket can't be asked"
	elif wait_for cri_answers; then
		result cri true "$(cri_version 2>&1)"
	else
		result cri false "no answer on the CRI socket: $(cri_version 2>&1) containerd $(systemctl is-active containerd 2>&1), crio $(systemctl is-active crio 2>&1)"
	fi
}

check_mosquitto() {
	wait_for systemctl -q is-active mosquitto
	pid=$(systemctl show -p MainPID --value mosquitto)
	user=$(id -nu "$(awk '/^Uid:/ { print $2 }' "/proc/${pid:-0}/status" 2>/dev/null)" 2>/dev/null) || user=
	if [ "$user" = mosquitto ]; then
		result mosquitto-user true "process $pid of user mosquitto"
	else
		result mosquitto-user false "runs as '$user' (process ${pid:-none}): $(systemctl is-active mosquitto 2>&1)"
	fi
}

check_cni() {
	count=0 bad=
	for plugin in /opt/cni/bin/*; do
		[ -x "$plugin" ] || continue
		count=$((count + 1))
		CNI_COMMAND=VERSION "$plugin" </dev/null 2>/dev/null | grep -q supportedVersions || bad="$bad ${plugin##*/}"
	done
	if [ "$count" -gt 0 ] && [ -z "$bad" ]; then
		result cni-plugins true "$count plugins answer VERSION"
	else
		result cni-plugins false "$count plugins in /opt/cni/bin; no answer from:${bad:- none}"
	fi
}

# The file system has to be 90 % of its disk. df leaves out the file system's own metadata, so
# resize2fs's view, the count of blocks in the superblock, is asked first.
check_root_grown() {
	part=$(findmnt -n -o SOURCE /)
	disk=$(lsblk -n -b -d -o SIZE "/dev/$(lsblk -n -d -o PKNAME "$part")" | tr -d ' ')
	if grown; then
		result root-grown true "$fs of $disk bytes on $part"
	else
		result root-grown false "$fs of $disk bytes on $part"
	fi
}

grown() {
	fs=$(dumpe2fs -h "$part" 2>/dev/null | awk -F ': *' '/^Block count/ { n = $2 } /^Block size/ { s = $2 } END { printf "%.0f", n * s }')
	[ "${fs:-0}" -gt 0 ] || fs=$(df -B 1 -P / | awk 'NR == 2 { print $2 }')
	[ "$((fs / 9))" -ge "$((disk / 10))" ]
}

check_clock() {
	t=$(date +%s)
	if [ "$t" -gt "$EB_EPOCH" ]; then
		result clock true "$(date -u)"
	else
		result clock false "$(date -u) is before $(date -u -d "@$EB_EPOCH")"
	fi
}

# What dpkg believes is what is there. Configuration files may have other contents than their packages': overlays are
# for that. They may not be missing, and no other file may be missing or changed. dpkg(1), --verify-format:
# "??5?????? c /etc/x" is one with another digest, "missing   c /etc/x" one that is not there.
changed_configuration='^..5...... c '

package_faults() {
	fails dpkg --audit
	# Its exit code is the same for a changed configuration file and for any other.
	code=0
	dpkg --verify >"$dir/verified" 2>"$dir/verify.err" || code=$?
	[ "$code" -eq 0 ] || [ -s "$dir/verified" ] || echo "dpkg --verify: code $code"
	cat "$dir/verify.err"
	grep -v "$changed_configuration" "$dir/verified"
	fails apt-get check -q -o Debug::NoLocking=true | grep -Ev '^(Reading|Building) '
	! command -v debsums >/dev/null || fails debsums -s
}

fails() { # COMMAND...: prints what it says, and its code when it is not 0
	"$@" 2>&1 || echo "$1: code $?"
}

check_packages() {
	faults=$(package_faults)
	if [ -z "$faults" ]; then
		changed=$(sed 's/^.* c //' "$dir/verified")
		result packages true "configuration files changed: ${changed:-none}"
	else
		result packages false "$faults"
	fi
}

# What a node keeps for its life, and what keadm would write anew if it ran again.
kept=/var/lib/edgebake-check
identity() {
	sha256sum /etc/kubeedge/ca/rootCA.crt /etc/kubeedge/certs/server.crt /etc/kubeedge/certs/server.key
	stat -c '%n %Y' /usr/local/bin/edgecore
	cat /var/lib/edgebake/joined
}

joined() {
	grep -Eq '"state": *"joined"' /run/edgebake/join.json && systemctl -q is-active edgecore && [ -s /etc/kubeedge/certs/server.crt ] &&
		journalctl -b -u edgecore -o cat --no-pager | grep -q 'Websocket connect to cloud access successful'
}

join_state() {
	cat /run/edgebake/join.json 2>&1
	echo "edgecore: $(systemctl is-active edgecore 2>&1);"
	journalctl -b -u edgebake-join -u edgecore -n 4 -o cat --no-pager 2>&1
}

check_joined() {
	if wait_for joined; then
		say '{"milestone":"joined"}'
		result joined true "after $(now) s of guest time: $(cat /run/edgebake/join.json)"
	else
		result joined false "$(join_state)"
	fi
}

# Where a token is, of those places that are not files of a disk, or hold them compressed. The host
# looks at the disk, for the very token; here its shape has to do.
tokens() {
	shape='[0-9a-f]{64}[.]eyJ'
	journalctl --no-pager -o export 2>/dev/null | grep -aEq "$shape" && echo journal
	grep -lraE "$shape" /run /dev/shm /tmp 2>/dev/null
	for process in /proc/[0-9]*; do
		cat "$process/cmdline" "$process/environ" 2>/dev/null | grep -aEq "$shape" && echo "$process"
	done
	find /etc/kubeedge/config/edgecore.yaml /etc/edgebake -type f -perm /077 2>/dev/null | sed 's/$/ (others may read it)/'
}

check_token_scrubbed() {
	found=$(tokens)
	if [ -z "$found" ]; then
		result token-scrubbed true "not in the journal, nor in files of /run, /dev/shm, /tmp, nor in a process"
	else
		result token-scrubbed false "in $found"
	fi
}

# The first boot only notes who the node is; in the second nothing may have run again.
check_stays_joined() {
	identity >"$dir/identity" 2>&1
	if [ ! -e $kept/identity ]; then
		mkdir -p $kept && cp "$dir/identity" $kept/identity
	elif changed=$(diff $kept/identity "$dir/identity"); then
		result stays-joined true "the same certificates, marker and edgecore"
	else
		result stays-joined false "not as before: $changed"
	fi
}

: >"$dir/results"
if [ -e $kept/identity ]; then # the second boot: what the first has said of the image holds
	EB_CHECKS="multi-user joined token-scrubbed stays-joined"
fi
dmesg -n 1             # the kernel stays silent on the console, but for say's emergencies
echo on >/proc/sys/kernel/printk_devkmsg # no limit on how often
kill -55 1 2>/dev/null # SIGRTMIN+21: and so does systemd (systemd(1))
for check in $EB_CHECKS; do
	case $check in
	multi-user) check_multi_user ;;
	no-failed-units) check_failed_units ;;
	cloud-init) check_cloud_init ;;
	cmdline-flags) check_cmdline ;;
	memory-cgroup) check_memory_cgroup ;;
	cri) check_cri ;;
	mosquitto-user) check_mosquitto ;;
	cni-plugins) check_cni ;;
	root-grown) check_root_grown ;;
	clock) check_clock ;;
	packages) check_packages ;;
	joined) check_joined ;;
	token-scrubbed) check_token_scrubbed ;;
	stays-joined) check_stays_joined ;;
	*) result "$check" false "the check script does not know it" ;;
	esac
done
while read -r line; do say "$line"; done <"$dir/results" # for what others tore apart
say '{"end":true}'
sync
systemctl poweroff
