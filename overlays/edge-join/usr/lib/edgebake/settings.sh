# shellcheck shell=sh
# What the scripts in this directory share: places, and how settings are read. Not a program.
# shellcheck disable=SC2034 # the places are used by the scripts that read this file
here=/usr/lib/edgebake
golden=$here/kubeedge
conf=/etc/edgebake/join.conf
keep=/var/lib/edgebake
marker=$keep/joined
run=/run/edgebake
kube=/etc/kubeedge
yaml=$kube/config/edgecore.yaml
unit=/etc/systemd/system/edgecore.service
cloud=/var/lib/cloud

keys='KUBEEDGE_VERSION CRI_ENDPOINT RUNTIME_UNIT PAUSE_IMAGE CGROUP_DRIVER SEED_DIR
NODE_NAME CLOUDCORE CERT_PORT LABELS CLUSTER_DNS CLUSTER_DOMAIN NODE_IP EDGE_STREAM META_SERVER
BACKOFF_MIN BACKOFF_MAX POLL TIME_LIMIT NETWORK_LIMIT ANSWER_LIMIT CRI_LIMIT MQTT_LIMIT KEADM_LIMIT VERIFY_LIMIT STABLE'
cr=$(printf '\r')

# The shell itself reads these small files: starting a program costs a slow board more than all of them.

# read_settings makes of each line KEY=VALUE a variable set_KEY; the last one counts. Lines with other
# keys, and values with other characters than these, are none: nothing of them is ever run.
read_settings() {
	for key in $keys; do
		eval "set_$key="
	done
	for file in $here/node.conf $conf; do
		[ ! -r $file ] || read_lines <$file
	done
}

read_lines() {
	while IFS= read -r line || [ -n "$line" ]; do
		line=${line%"$cr"}
		value=${line#*=}
		case $value in
		*[!A-Za-z0-9._:/,=@%+-]*) continue ;;
		esac
		for key in $keys; do
			[ "$line" != "$key=$value" ] || eval "set_$key=\$value"
		done
	done
}

# find_instance sets instance: cloud-init's name for this node's seed. Nothing when there is no seed: one
# that can't be read for a while must not look like another node's.
find_instance() {
	instance=
	[ ! -r $cloud/data/instance-id ] || IFS= read -r instance <$cloud/data/instance-id
	while :; do
		case $instance in
		*[!A-Za-z0-9._-]*) instance=${instance%%[!A-Za-z0-9._-]*}${instance#*[!A-Za-z0-9._-]} ;;
		iid-datasource-none | nocloud) instance= ;;
		*) break ;;
		esac
	done
}

# find_known sets known, the seed that this node joined with or began to, and known_node.
find_known() {
	known= known_node=
	for file in $marker $keep/instance; do
		if [ -n "$known" ] || [ ! -r $file ]; then
			continue
		fi
		while IFS= read -r line; do
			case $line in
			node=*) known_node=${line#*=} ;;
			instance=*) known=${line#*=} ;;
			esac
		done <$file
	done
}

# replace FILE TEXT: the lines take the place of FILE, whole or not at all. A power cut leaves the one
# or the other, a full disk the old one.
replace() {
	if printf '%s\n' "$2" >"$1.new" && sync "$1.new" && mv -f "$1.new" "$1"; then
		sync "${1%/*}"
	else
		rm -f "$1.new"
		return 1
	fi
}
