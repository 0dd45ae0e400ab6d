# shellcheck shell=sh
# One attempt to join, step by step. Read by edgebake-join and edgebake-node. A step that can't be done calls
# "fail REASON DETAIL" and ends the attempt.
# shellcheck disable=SC2154 # the places come from settings.sh

reason=
detail=
lost=

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
	# What systemd does not know of. keadm refuses to join beside it.
	tries=10
	while pids=$(pidof edgecore); do
		# shellcheck disable=SC2086 # one argument for each process
		if [ $tries -gt 0 ]; then
			kill $pids 2>/dev/null
		else
			kill -9 $pids 2>/dev/null
		fi
		[ $tries -gt -3 ] || return 0
		tries=$((tries - 1))
		sleep 1
	done
}

# still_joined: the marker alone proves nothing. "keadm reset", a failing card, an end of the certificate
# and a CloudCore that was set up anew leave it. Sets lost: what is missing.
still_joined() {
	lost=
	[ -s $marker ] || return 1
	for file in $unit $yaml /usr/local/bin/edgecore; do
		[ -s $file ] || lost="$file is not there any more"
	done
	[ -n "$lost" ] || whole_pair || lost="its certificates are damaged or gone"
	[ -z "$lost" ] || return 1
	find_token
	if expired || foreign_token; then
		replaced
	fi
	[ -z "$lost" ]
}

# replaced looks at what only a clock that may be trusted, and CloudCore, can tell.
replaced() {
	wait_time
	[ "$best" -le 0 ] || [ "$best" -gt "$(date +%s)" ] || token=
	if expired; then
		if [ -n "$token" ] || clock_set; then
			lost="its certificate has expired"
		fi
		return
	fi
	foreign_token || return 0
	# A token of a third cluster must not cost the node its place in this one.
	if wait_cloudcore && right_cloudcore; then
		rm -rf $kube/ca $kube/certs
	elif [ "$reason" = wrong-ca ]; then
		return 0
	fi
	lost="the token is for another CloudCore"
}

# foreign_token: there is a token, and it is not of the CloudCore that this node belongs to.
foreign_token() {
	[ -n "$token" ] && [ "$(ca_hash)" != "${token%%.*}" ]
}

ca_hash() {
	hash=$(sed '/^-----/d' $kube/ca/rootCA.crt | base64 -d 2>/dev/null | sha256sum)
	echo "${hash%% *}"
}

expired() {
	command -v openssl >/dev/null && ! openssl x509 -noout -checkend 0 -in $kube/certs/server.crt >/dev/null 2>&1
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

# good_pair: the certificates of edgecore are there, whole and in time. With others edgecore dials in vain
# for ever, and does not ask for new ones.
good_pair() {
	whole_pair && ! expired
}

whole_pair() {
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
		[ "$public" = "$(openssl pkey -pubout -in $kube/certs/server.key 2>/dev/null)" ] &&
		openssl verify -no_check_time -partial_chain -CAfile $kube/ca/rootCA.crt $kube/certs/server.crt >/dev/null 2>&1
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
	answer=$(curl -sfk --noproxy '*' --max-time "${set_ANSWER_LIMIT:-30}" -o $run/ca.der -w '%{http_code}' "https://$host:$cert_port/ca.crt") || {
		case $answer in
		4*) fail not-cloudcore "https://$host:$cert_port/ca.crt answers with HTTP status $answer" ;;
		5*) fail unreachable "https://$host:$cert_port/ca.crt answers with HTTP status $answer" ;;
		*) fail unreachable "https://$host:$cert_port/ca.crt gives no answer" ;;
		esac
		return
	}
	hash=$(sha256sum <$run/ca.der)
	[ "${hash%% *}" = "${token%%.*}" ] || { fail wrong-ca "the CA of $host has SHA-256 ${hash%% *}, and the token is for ${token%%.*}"; return; }
	[ -s $kube/ca/rootCA.crt ] || return 0
	! foreign_token || rm -rf $kube/ca $kube/certs
}

wait_runtime() {
	kind=
	wait_for waiting-cri "${set_CRI_LIMIT:-120}" runtime_answers
}

# runtime_answers asks what edgecore 1.8 asks first, in the only version of the interface that it knows.
runtime_answers() {
	kind=
	socket=${endpoint#unix://}
	why="nothing answers at $socket"
	[ -S "$socket" ] || return 1
	if ! command -v curl >/dev/null || ask_runtime v1alpha2; then
		return 0
	fi
	[ "$size" != none ] || return 1
	if ask_runtime v1; then
		kind=cri-too-new why="the runtime at $socket knows only version v1 of the interface, and edgecore $version needs v1alpha2"
	else
		why="what answers at $socket is no container runtime, or its CRI is switched off"
	fi
	return 1
}

# ask_runtime VERSION: gRPC by hand. An empty message is one byte of flags and four of length, all zero.
# Sets size: none without an answer; an answer that is only a fault has no message.
ask_runtime() {
	size=$(printf '\000\000\000\000\000' | curl -s --max-time 10 --http2-prior-knowledge --unix-socket "$socket" \
		-H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- -o /dev/null -w '%{size_download}' \
		"http://localhost/runtime.$1.RuntimeService/Version" 2>/dev/null) || { size=none; return 1; }
	[ "${size%%[!0-9]*}" -gt 5 ]
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
		if [ "${said#* }" = 1 ] && good_pair; then
			stable && return 0
			[ "$reason" != edgecore-crash ] || return 1
			left=$((left - ${set_STABLE:-12})) # it may connect again
		fi
		case $kind in
		token-rejected | token-malformed | wrong-ca | disk-full | cgroup-missing | kubelet-runs | cri-too-new) break ;; # asking again gives the same answer
		esac
		[ "$left" -gt 0 ] || break
		sleep "$poll"
		left=$((left - poll))
	done
	case $kind,$said in
	,0*) fail edgecore-crash "edgecore did not connect; systemd says: $(systemctl is-active edgecore.service)${why:+; edgecore says: $why}" ;;
	,*) fail not-registered "edgecore connected, and CloudCore has not confirmed the node${why:+; edgecore says: $why}" ;;
	*) fail "$kind" "$why" ;;
	esac
}

# stable: the same process for more than the ten seconds after which systemd would start it again, and
# connected still.
stable() {
	before=$(systemctl show -p MainPID -p ActiveState edgecore.service)
	sleep "${set_STABLE:-12}"
	after=$(systemctl show -p MainPID -p ActiveState edgecore.service)
	case $before in
	*MainPID=0* | *MainPID=) ;;
	*ActiveState=active*)
		if [ "$before" = "$after" ]; then
			read_journal
			[ "$said" != "1 1" ] || return 0
			fail "${kind:-connection-lost}" "${why:-edgecore connected and was cut off again}"
			return
		fi
		;;
	esac
	fail edgecore-crash "edgecore connected and ended again"
}

# read_journal sets said (connected now, registered: 0 or 1) and the last thing that went wrong.
read_journal() {
	set -- --no-pager -o cat -u edgecore.service
	if [ -n "$cursor" ]; then
		set -- "$@" --after-cursor "$cursor"
	else
		set -- "$@" -b
	fi
	{ read -r said && read -r kind && read -r why; } <<-END
		$(journalctl "$@" 2>/dev/null | awk -f $here/edgecore-log.awk)
	END
}
