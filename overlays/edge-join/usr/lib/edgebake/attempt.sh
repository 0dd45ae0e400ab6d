# shellcheck shell=sh
# One attempt to join, step by step. Read by edgebake-join. A step that can't be done calls
# "fail REASON DETAIL" and ends the attempt.
# shellcheck disable=SC2154 # the places come from settings.sh

reason=
detail=

fail() {
	reason=$1 detail=$2
	return 1
}

load_settings() {
	read_settings
	find_instance
	node=$set_NODE_NAME
	cloudcore=$set_CLOUDCORE
	host=${cloudcore%:*}
	port=${cloudcore##*:}
	cert_port=${set_CERT_PORT:-10002}
	[ "$cert_port" != 0 ] || cert_port=10002
	version=$set_KUBEEDGE_VERSION
	endpoint=$set_CRI_ENDPOINT
	runtime_unit=$set_RUNTIME_UNIT
	seed_dir=$set_SEED_DIR
	token_files="${seed_dir:+$seed_dir/edgebake-token }$keep/token"
	backoff_min=${set_BACKOFF_MIN:-10}
	backoff_max=${set_BACKOFF_MAX:-300}
	poll=${set_POLL:-2}
}

attempt() {
	report working starting "attempt $number"
	load_settings
	check_seed && repair && choose_token && tarball_whole &&
		wait_time && fresh_token && wait_cloudcore && right_cloudcore && wait_runtime && wait_mqtt &&
		golden_copies && run_keadm && configure && start && verify
}

check_seed() {
	if [ -z "$node" ]; then
		fail no-seed "$conf has no NODE_NAME"
		return
	fi
	case $cloudcore in
	*[!A-Za-z0-9.:-]* | *:*:* | :* | *: | *:*[!0-9]*) fail no-seed "CLOUDCORE=$cloudcore in $conf is not HOST:PORT" ;;
	*:*) ;;
	*) fail no-seed "CLOUDCORE=$cloudcore in $conf is not HOST:PORT" ;;
	esac
}

stop_edgecore() {
	[ ! -e $run/edgecore-allowed ] || rm -f $run/edgecore-allowed
	if [ -e $unit ]; then
		systemctl stop edgecore.service 2>/dev/null
		systemctl reset-failed edgecore.service 2>/dev/null
	fi
	pids=$(pidof edgecore) || return 0
	# shellcheck disable=SC2086 # one argument for each process
	kill $pids 2>/dev/null
}

# repair removes what an attempt left that was cut off: keadm stumbles over its own unit, a partial
# archive, and an edgecore that runs. Certificates stay when they are good: CloudCore signed them, and
# the token for new ones may have expired since.
repair() {
	stop_edgecore
	# systemd notices when keadm has it read all units.
	set -- $marker $unit /etc/systemd/system/multi-user.target.wants/edgecore.service /usr/local/bin/edgecore \
		$kube/kubeedge-v* $kube/checksum_kubeedge-v* $kube/edgecore.service $kube/config /var/lib/kubeedge
	good_pair || set -- "$@" $kube/ca $kube/certs
	rm -rf "$@"
	replace $keep/instance "node=$node
instance=$instance" || fail disk-full "writing $keep/instance: $(free_space $keep) KiB are free"
}

# good_pair: the certificates of edgecore are there and whole. A damaged one makes edgecore dial in vain
# for ever, without asking for another.
good_pair() {
	for file in $kube/ca/rootCA.crt $kube/certs/server.crt $kube/certs/server.key; do
		[ -s $file ] || return 1
	done
	if ! command -v openssl >/dev/null; then
		for file in $kube/ca/rootCA.crt $kube/certs/server.crt $kube/certs/server.key; do
			[ "$(sed '/^-----/d' $file | base64 -d 2>/dev/null | wc -c)" -gt 32 ] || return 1
			grep -q '^-----END' $file || return 1
		done
		return 0
	fi
	openssl x509 -noout -in $kube/ca/rootCA.crt >/dev/null 2>&1 &&
		public=$(openssl x509 -noout -pubkey -in $kube/certs/server.crt 2>/dev/null) &&
		[ "$public" = "$(openssl pkey -pubout -in $kube/certs/server.key 2>/dev/null)" ]
}

# wait_for REASON SECONDS COMMAND: until it succeeds. It may say why it does not in $why.
wait_for() {
	why=
	"$3" && return 0
	left=$2
	while [ "$left" -gt 0 ]; do
		report waiting "${kind:-$1}" "$why"
		sleep "$poll"
		left=$((left - poll))
		"$3" && return 0
	done
	fail "${kind:-$1}" "$why"
}

wait_time() {
	kind=
	wait_for waiting-time "${set_TIME_LIMIT:-120}" clock_set && return 0
	# A machine without a time server but with a clock of its own must not wait for ever. The files of
	# the image have the time when it was made: an earlier one can't be right.
	[ "$(date +%s)" -ge "$(date -r $here/node.conf +%s)" ]
}

clock_set() {
	why="no time server has answered"
	[ -e /run/systemd/timesync/synchronized ] || timedatectl 2>/dev/null | grep -q 'synchronized: yes'
}

wait_cloudcore() {
	kind=
	wait_for unreachable "${set_NETWORK_LIMIT:-60}" cloudcore_answers
}

cloudcore_answers() {
	kind=
	# bash is there, because keadm needs it, and unlike curl it says why a connection failed.
	# shellcheck disable=SC2016 # the words are bash's
	why=$(timeout 10 bash -c 'for port; do echo "port=$port"; exec 3<>"/dev/tcp/$0/$port" || exit; done' "$host" "$port" "$cert_port" 2>&1) && return 0
	knocked=${why##*port=}
	knocked=${knocked%%[!0-9]*}
	case $why in
	*refused*) kind=connection-refused why="$host refuses connections to port $knocked" ;;
	*"etwork is unreachable"*) kind=waiting-network why="there is no way to $host" ;;
	*resolution* | *"not known"* | *"No address"*)
		kind=waiting-dns why="the name $host is not found"
		[ -n "$(ip -o route 2>/dev/null)" ] || kind=waiting-network why="there is no network"
		;;
	*) kind=unreachable why="port $knocked of $host does not answer" ;;
	esac
	return 1
}

# right_cloudcore compares the CA as edgecore will: the token begins with the CA's SHA-256. Said before
# anything is set up, and no token goes to a wrong CloudCore.
right_cloudcore() {
	if [ -z "$token" ] || ! command -v curl >/dev/null; then
		return 0
	fi
	curl -sk --noproxy '*' --max-time 30 -o $run/ca.der "https://$host:$cert_port/ca.crt" ||
		{ fail unreachable "https://$host:$cert_port/ca.crt gives no answer"; return; }
	hash=$(sha256sum <$run/ca.der)
	[ "${hash%% *}" = "${token%%.*}" ] || { fail wrong-ca "the CA of $host has SHA-256 ${hash%% *}, and the token is for ${token%%.*}"; return; }
	[ -s $kube/ca/rootCA.crt ] || return 0
	hash=$(sed '/^-----/d' $kube/ca/rootCA.crt | base64 -d | sha256sum)
	[ "${hash%% *}" = "${token%%.*}" ] || rm -rf $kube/ca $kube/certs # of another CloudCore
}

wait_runtime() {
	kind=
	wait_for waiting-cri "${set_CRI_LIMIT:-120}" runtime_answers
}

# runtime_answers asks what edgecore 1.8 asks first, in the only version of the interface that it knows.
# gRPC by hand: an empty message is one byte of flags and four of length, all zero.
runtime_answers() {
	socket=${endpoint#unix://}
	why="nothing answers at $socket"
	[ -S "$socket" ] || return 1
	command -v curl >/dev/null || return 0
	size=$(printf '\000\000\000\000\000' | curl -s --max-time 10 --http2-prior-knowledge --unix-socket "$socket" \
		-H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- -o /dev/null -w '%{size_download}' \
		http://localhost/runtime.v1alpha2.RuntimeService/Version 2>/dev/null) && [ "${size%%[!0-9]*}" -gt 5 ]
}

wait_mqtt() {
	kind=
	wait_for waiting-mqtt "${set_MQTT_LIMIT:-60}" mosquitto_runs
}

# mosquitto_runs looks as keadm does. When it finds none it calls apt-get.
mosquitto_runs() {
	why="no process of the user mosquitto is called mosquitto"
	ps aux | awk '/mosquitto/ && $1 ~ /mosquit/ { n++ } END { exit !n }'
}

tarball_whole() {
	name=kubeedge-v$version-linux-$(dpkg --print-architecture).tar.gz
	for file in $golden/$name $golden/checksum_$name.txt $golden/edgecore.service; do
		[ -s "$file" ] || { fail tarball-missing "$file is not there"; return; }
	done
	has_sum $golden/$name || fail tarball-damaged "$golden/$name does not have the SHA-512 of $golden/checksum_$name.txt"
}

has_sum() { # FILE
	sum=$(sha512sum <"$1")
	read -r known <"$golden/checksum_$name.txt"
	[ "${sum%% *}" = "$known" ]
}

free_space() { # DIRECTORY: KiB
	# shellcheck disable=SC2046 # the words after the line of titles are what is wanted
	set -- $(df -Pk "$1")
	shift 10
	echo "$1"
}

# golden_copies: keadm looks in /etc/kubeedge, and makes a hard link from there to systemd's directory.
golden_copies() {
	# The copy, twice that size unpacked, and the program once more.
	need=$(($(wc -c <$golden/$name) / 1024 * 5 + 16384))
	room=$(free_space /etc)
	[ "$room" -ge "$need" ] || { fail disk-full "joining needs $need KiB and $room KiB are free"; return; }
	mkdir -p $kube /usr/local/bin /etc/systemd/system
	cp $golden/$name $golden/checksum_$name.txt $golden/edgecore.service $kube/ && cmp -s $golden/$name $kube/$name ||
		fail disk-full "copying $name to $kube failed; $(free_space /etc) KiB are free"
}

# run_keadm: with the end of a file on standard input keadm would ask about a checksum for ever, 2 MB of
# log a second; so there is always another n, and a limit.
run_keadm() {
	report working joining "keadm runs"
	set -- --cloudcore-ipport "$cloudcore" --certport "$cert_port" --token put.in.by.edgebake --edgenode-name "$node" \
		--cgroupdriver "${set_CGROUP_DRIVER:-systemd}" --runtimetype remote --remote-runtime-endpoint "$endpoint" \
		--kubeedge-version "$version"
	[ -z "$set_LABELS" ] || set -- "$@" --labels "$set_LABELS"
	yes n 2>/dev/null | timeout -k 10 "${set_KEADM_LIMIT:-300}" keadm join "$@" >$run/keadm.log 2>&1
	code=$?
	[ $code -eq 0 ] && [ -s $yaml ] && [ -s /usr/local/bin/edgecore ] && [ -s $unit ] && return 0
	said=$(grep -m 1 '^Error:' $run/keadm.log)
	case $code in
	124 | 137) fail keadm-timeout "keadm did not end in ${set_KEADM_LIMIT:-300} s" ;;
	*)
		# tar has other words for it when only a part of its last block was written.
		if grep -Eqi 'no space left|wrote only' $run/keadm.log; then
			fail disk-full "keadm: no space left; $(free_space /etc) KiB are free"
		else
			fail keadm-failed "keadm ended with code $code: ${said:-$(tail -n 1 $run/keadm.log)}"
		fi
		;;
	esac
}

# configure sets what keadm can't, and the token.
configure() {
	settings | set_yaml || fail disk-full "writing $yaml failed; $(free_space /etc) KiB are free"
}

settings() {
	cat <<-END
		modules.edgeHub.token="$token"
		modules.edged.nodeIP="$set_NODE_IP"
		modules.edged.podSandboxImage="$set_PAUSE_IMAGE"
		modules.edged.clusterDNS="$set_CLUSTER_DNS"
		modules.edged.clusterDomain="$set_CLUSTER_DOMAIN"
		modules.edgeStream.enable=$(flag "$set_EDGE_STREAM")
		modules.metaManager.metaServer.enable=$(flag "$set_META_SERVER")
	END
}

flag() { # VALUE: true or false
	case $1 in
	true | 1 | yes) echo true ;;
	*) echo false ;;
	esac
}

# set_yaml: standard input has lines PATH=VALUE. What is written is root's alone.
set_yaml() {
	(umask 077 && awk -f $here/edgecore-yaml.awk - $yaml $yaml >$yaml.set) &&
		[ -s $yaml.set ] && sync $yaml.set && mv -f $yaml.set $yaml
}

start() {
	cursor=$(journalctl -n 0 --show-cursor 2>/dev/null)
	case $cursor in
	*'-- cursor: '*) cursor=${cursor##*-- cursor: } ;;
	*) cursor= ;;
	esac
	report working connecting "edgecore starts"
	: >$run/edgecore-allowed
	systemctl start edgecore.service || fail edgecore-crash "systemctl start edgecore failed"
}

# verify: keadm's success means only that systemd was asked to start edgecore.
verify() {
	left=${set_VERIFY_LIMIT:-120}
	kind= said="0 0"
	while :; do
		# Without certificates it can't have connected; so the journal only now and then, for what is wrong.
		if [ -s $kube/certs/server.crt ] || [ $((left % 10)) -lt "$poll" ]; then
			read_journal
		fi
		if [ "$said" = "1 1" ] && good_pair; then
			stable
			return
		fi
		case $kind in
		token-rejected | token-malformed | wrong-ca | disk-full) break ;; # asking again gives the same answer
		esac
		[ "$left" -gt 0 ] || break
		sleep "$poll"
		left=$((left - poll))
	done
	case $kind,$said in
	,0*) fail edgecore-crash "edgecore did not connect; systemd says: $(systemctl is-active edgecore.service)" ;;
	,*) fail not-registered "edgecore connected, and CloudCore has not confirmed the node" ;;
	*) fail "$kind" "$why" ;;
	esac
}

# stable: the same process for more than the ten seconds after which systemd would start it again.
stable() {
	before=$(systemctl show -p MainPID -p ActiveState edgecore.service)
	sleep "${set_STABLE:-12}"
	after=$(systemctl show -p MainPID -p ActiveState edgecore.service)
	case $before in
	*MainPID=0* | *MainPID=) ;;
	*ActiveState=active*) [ "$before" != "$after" ] || return 0 ;;
	esac
	fail edgecore-crash "edgecore connected and ended again"
}

# read_journal sets said (connected, registered: 0 or 1) and the last thing that went wrong.
read_journal() {
	set -- --no-pager -o cat -u edgecore.service
	[ -z "$cursor" ] || set -- "$@" --after-cursor "$cursor"
	{ read -r said && read -r kind && read -r why; } <<-END
		$(journalctl "$@" 2>/dev/null | awk -f $here/edgecore-log.awk)
	END
}
