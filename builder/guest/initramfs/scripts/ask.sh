#!/bin/sh
# Has warm.pl run the program that this script covers, or runs it when warm.pl cannot.
set -C
eb_slot=0
until true 2>/dev/null >"/run/edgebake/perl/slot.$eb_slot"; do
	eb_slot=$((eb_slot + 1))
done
set +C
eb_code=real
if [ -p "/run/edgebake/perl/reply.$eb_slot" ]; then
	# warm.pl takes this process's open files as soon as it has read the call: none of them may be another one for a
	# moment, as standard output would be here without a subshell.
	(echo "$$ $eb_slot" >/run/edgebake/perl/calls)
	# It can be opened when there is an answer.
	exec 9<"/run/edgebake/perl/reply.$eb_slot"
	read -r eb_code <&9
	exec 9<&-
fi
[ "$eb_code" = real ] || exit "$eb_code"
exec "/run/edgebake/perl/${0##*/}" "$@"
