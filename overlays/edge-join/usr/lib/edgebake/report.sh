# shellcheck shell=sh
# How the state of the join is told: to programs, to people, on the console. Read by edgebake-join
# and edgebake-node.
# shellcheck disable=SC2154 # run comes from settings.sh

number=0
told=
since=
card=

utc() { # [SECONDS since 1970]
	date -u ${1:+-d "@$1"} +%Y-%m-%dT%H:%M:%SZ
}

# plain TEXT sets about: TEXT as the inside of a JSON string, on one line.
plain() {
	about=$1
	case $1 in
	*[!\ -~]* | *[\\\"]*) about=$(printf '%s' "$1" | tr '\n\t\\"' "  /'" | tr -cd ' -~') ;;
	esac
	[ ${#about} -le 300 ] || about=$(printf '%.300s' "$about")
}

# report STATE REASON DETAIL [SECONDS until the next attempt]. States: waiting and working within an
# attempt, failed between two, idle without a seed, joined. People are told what is new: not that
# something is tried again.
report() {
	plain "$3"
	now=$(utc)
	next=
	[ -z "${4:-}" ] || next=$(utc $(($(date +%s) + $4)))
	case $1,$told in
	working,* | *,"$1 $2" | waiting,"failed $2") news= ;;
	*) news=yes since=$now told="$1 $2" ;;
	esac
	printf '{"state":"%s","reason":"%s","detail":"%s","attempt":%d,"next":"%s","node":"%s","cloudcore":"%s","since":"%s","time":"%s"}\n' \
		"$1" "$2" "$about" "$number" "$next" "$node" "$cloudcore" "$since" "$now" >$run/join.json.new
	mv -f $run/join.json.new $run/join.json
	[ -z "$news" ] || say "$1: $2${about:+ ($about)}${4:+; next attempt in $4 s}"
	[ "$1" = working ] || tell "$1" "$2" "$about" "${4:-}"
}

# say LINE: to the journal, and through the kernel's log to every console. Level 3 is shown by quiet ones.
say() {
	printf '%s\n' "$1"
	{ printf '<3>edgebake: node %s: %s\n' "${node:-unknown}" "$1" >/dev/kmsg; } 2>/dev/null ||
		{ printf 'edgebake: node %s: %s\n' "${node:-unknown}" "$1" >/dev/console; } 2>/dev/null
}

# tell writes join-status.txt. The card's copy only when it says something new: cards wear out.
tell() {
	text=$(page "$@")
	stamp="At $now by this node's clock, attempt $number."
	printf '%s\n\n%s\n' "$text" "$stamp" >$run/join-status.txt
	{ [ -n "$seed_dir" ] && [ -d "$seed_dir" ]; } || return 0
	if [ "$1" = failed ] || [ -n "$news" ]; then
		[ -n "$card" ] || [ ! -e "$seed_dir/join-status.txt" ] || card=$(sed '/^At /d' "$seed_dir/join-status.txt")
		[ "$text" = "$card" ] || { replace "$seed_dir/join-status.txt" "$text

$stamp" && card=$text; } 2>/dev/null
	fi
}

page() { # STATE REASON DETAIL SECONDS
	printf 'edgebake: how this node joins CloudCore\n\nNode:      %s\nCloudCore: %s\nState:     %s (%s)\n' "${node:-unknown}" "${cloudcore:-unknown}" "$1" "$2"
	printf '\nWhat happened: %s\n' "$3"
	advice "$2"
	[ -z "$4" ] || printf 'Next attempt: in %s seconds, or at once when a fresh token arrives.\n' "$4"
}

advice() { # REASON
	printf 'What to do: '
	case $1 in
	joined) echo "nothing. The token has been removed from this card; it is not needed any more." ;;
	left) echo "nothing, when this node shall stay out. Else put a fresh token (keadm gettoken) into edgebake-token on this partition and start the node." ;;
	no-seed) echo "write a seed with \"edgebake seed\" and put its files on this card, or correct the line that is named above." ;;
	no-token) echo "put a file edgebake-token with a KubeEdge token (keadm gettoken) on this partition, or at $keep/token." ;;
	token-malformed) echo "get the token again (keadm gettoken) and put it, whole and on one line, into edgebake-token on this partition." ;;
	token-expired | token-rejected) echo "tokens are valid for 24 hours. Put a fresh one (keadm gettoken) into edgebake-token on this partition." ;;
	wrong-ca) echo "the token is of another cluster than the CloudCore named above. Correct the address, or take a token of that cluster." ;;
	certificate-name) echo "give the node an address that CloudCore's certificate names, or add this one to cloudHub.advertiseAddress or dnsNames in cloudcore.yaml." ;;
	certificate-empty) echo "CloudCore can't sign certificates. Its own log says why." ;;
	certificate-rejected) echo "CloudCore does not take this node's certificate. Compare the clocks; after CloudCore was set up anew, put a fresh token (keadm gettoken) into edgebake-token on this partition." ;;
	not-cloudcore) echo "something else than CloudCore answers at this address, such as a proxy. Check address and ports (10000 and 10002)." ;;
	connection-lost) echo "CloudCore takes the node's connection and ends it. Its own log says why; look for a second node of this name, and for too many nodes (cloudHub.nodeLimit)." ;;
	cgroup-missing) echo "the kernel has a control group switched off. Add cgroup_enable=memory cgroup_memory=1 to the line in cmdline.txt on this partition." ;;
	kubelet-runs) echo "kubelet or kube-proxy runs on this node. Remove them; keep kube-proxy's DaemonSet from edge nodes." ;;
	cri-too-new) echo "the container runtime is too new for this KubeEdge: CRI-O up to 1.25 and containerd up to 1.6 are not. Write another image to the card." ;;
	waiting-time) echo "the node needs a time server: let UDP port 123 pass, or name one that it reaches in the seed." ;;
	certificate-time) echo "compare this node's clock, below, with CloudCore's. One of them is wrong; a time server heals this node." ;;
	waiting-network) echo "the node has no network. Check the cable, the Wi-Fi's name and password in network-config, and DHCP." ;;
	waiting-dns) echo "the name of CloudCore was not found. Check the name servers in network-config, or give its address in the seed." ;;
	unreachable | connection-refused) echo "check that CloudCore runs at this address and that firewalls let its ports (10000 and 10002) pass." ;;
	waiting-cri) echo "the container runtime does not answer. Look at: journalctl -u $runtime_unit" ;;
	waiting-mqtt) echo "mosquitto does not run as the user mosquitto. Look at: journalctl -u mosquitto" ;;
	tarball-missing | tarball-damaged) echo "the image on this card is not whole, or the card fails: write the image to a new card." ;;
	disk-full) echo "make room, or use a larger card." ;;
	keadm-failed | keadm-timeout) echo "look at $run/keadm.log on the node." ;;
	not-registered | edgecore-crash) echo "look at: journalctl -u edgecore. CloudCore's own log says more." ;;
	*) echo "nothing: this is under way." ;;
	esac
}
