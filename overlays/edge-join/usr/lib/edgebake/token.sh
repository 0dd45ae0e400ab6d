# shellcheck shell=sh
# The KubeEdge token: where it is found, what is wrong with it, how it goes. Read by edgebake-join
# and edgebake-node.
# No program gets it as an argument: those are for everybody to see.
# shellcheck disable=SC2154 # the places come from settings.sh

token=

# fingerprint changes when a token is put somewhere.
fingerprint() {
	# shellcheck disable=SC2086 # a list; no value of a setting has spaces
	cat $token_files 2>/dev/null | sha256sum
}

# token_in FILE: without line ends and the marks that editors put in front.
token_in() {
	[ ! -s "$1" ] || head -c 4096 "$1" | tr -cd 'A-Za-z0-9._-'
}

# expiry TOKEN sets until: seconds since 1970, 0 when the token says nothing. A JWT's parts are base64url
# without padding.
expiry() {
	claims=${1#*.*.}
	claims=${claims%.*}
	case $((${#claims} % 4)) in
	2) claims=$claims== ;;
	3) claims=$claims= ;;
	esac
	claims=$(printf '%s' "$claims" | tr '_-' '/+' | base64 -d 2>/dev/null)
	until=${claims##*\"exp\"}
	until=${until#*:}
	until=${until# }
	until=${until%%[!0-9]*}
	case $claims in
	*\"exp\"*) ;;
	*) until= ;;
	esac
	if [ -z "$until" ] || [ ${#until} -gt 12 ]; then
		until=0
	fi
}

well_formed() { # TOKEN: 64 hexadecimal digits and the three parts of a JWT
	hash=${1%%.*}
	case $hash in
	*[!0-9a-f]*) return 1 ;;
	esac
	[ ${#hash} -eq 64 ] || return 1
	case $1 in
	*[!A-Za-z0-9._-]* | *..* | *. | *.*.*.*.*) return 1 ;;
	*.*.*.*) ;;
	*) return 1 ;;
	esac
}

# find_token takes, of the tokens that there are, the one that is valid longest.
find_token() {
	token=
	best=-1
	broken=
	for file in $token_files; do
		found=$(token_in "$file")
		[ -n "$found" ] || continue
		if ! well_formed "$found"; then
			broken=$file
			continue
		fi
		expiry "$found"
		if [ "$until" -gt "$best" ]; then
			token=$found best=$until
		fi
	done
	[ -n "$token" ]
}

choose_token() {
	find_token && return 0
	good_pair && return 0 # nobody asks for a token when there are certificates
	if [ -n "$broken" ]; then
		fail token-malformed "the token in $broken does not have the four parts of a KubeEdge token"
	else
		fail no-token "there is no token in $token_files${lost:+; this node had joined, and $lost}"
	fi
}

# fresh_token refuses a token that has expired, by a clock that may be trusted.
fresh_token() {
	if [ -z "$token" ] || [ "$best" -eq 0 ] || [ "$best" -gt "$(date +%s)" ] || good_pair; then
		return 0
	fi
	fail token-expired "the token expired at $(utc "$best")"
}

ink=xxxxxxxx
token_form='[0-9a-f]{64}\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+'

# scrub overwrites every copy of a token in place, in files of any kind and without changing their
# length, and removes the files that held nothing else. cloud-init writes some of its copies anew at
# each boot, so this runs at each. Sets left: the files in which a token is left.
scrub() {
	left=$(copies -ob)
	if [ -n "$left" ]; then
		blot <<-END
			$left
		END
	fi
	gone=
	for file in $token_files; do
		[ -e "$file" ] || continue
		# Whatever is in it, token or not.
		dd if=/dev/zero of="$file" bs=1 count="$(wc -c <"$file")" conv=notrunc 2>/dev/null
		gone=yes
	done
	if grep -q '^ *token: "\{0,1\}x' $yaml 2>/dev/null; then
		printf 'modules.edgeHub.token=""\n' | set_yaml
	fi
	[ -z "$gone$left" ] || sync # before the names go
	# shellcheck disable=SC2086 # a list
	[ -z "$gone" ] || rm -f $token_files
	[ -z "$left" ] || left=$(copies -l | tr '\n' ' ')
}

copies() { # FLAG of grep
	grep -rHaE "$1" "$token_form" $cloud /run/cloud-init /var/log/cloud-init*.log $kube/config $keep 2>/dev/null
	# Not the kernels beside the seed: reading them takes seconds.
	[ -z "$seed_dir" ] || find "$seed_dir" -maxdepth 1 -type f -size -1024k -exec grep -HaE "$1" "$token_form" {} + 2>/dev/null
}

# blot overwrites what standard input lists: lines FILE:PLACE:TEXT.
blot() {
	while IFS= read -r line; do
		text=${line##*:}
		line=${line%:*}
		while [ ${#ink} -lt ${#text} ]; do
			ink=$ink$ink
		done
		printf "%.${#text}s" "$ink" | dd of="${line%:*}" bs=1 seek="${line##*:}" conv=notrunc 2>/dev/null
	done
}
