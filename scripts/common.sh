# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What setup, enter, demo and test share; sourced. Sets `checkout`, `cache` and `root`, the build root, which is `/` where
# this runs inside of it already.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Lists what was installed; whoever finds it in / is inside.
# shellcheck disable=SC2034 # for setup
record=etc/livepatch-cookbook

die() {
	echo "${0##*/}: $*" >&2
	exit 3
}

check_checkout() {
	[ -w "$checkout" ] || die "$checkout cannot be written to, and what is built goes there: make a clone of your own"
}

case ${XDG_CACHE_HOME-} in
/*) cache=$XDG_CACHE_HOME/livepatch-cookbook ;;
*) cache=${HOME:?HOME is not set}/.cache/livepatch-cookbook ;;
esac
[[ $checkout != *[[:space:]:]* ]] || die "make cannot work in \"$checkout\": move the checkout to a path without blanks and colons"
[[ $cache != *[[:space:]:]* ]] || die "make cannot work in \"$cache\": set XDG_CACHE_HOME to a path without blanks and colons"
for path in "$checkout" "$cache"; do
	case $path in
	/tmp/* | /var/tmp/* | /run/* | /dev/*) die "a guest has temporary folders of its own, and would not see $path: keep the checkout and XDG_CACHE_HOME elsewhere" ;;
	esac
done
root=$cache/root

# What runs a command as root of the build root's files: an ordinary user needs a user namespace for it, and nothing is
# needed inside.
namespaces=(unshare --mount --propagation private --pid --fork --kill-child)
[ "$(id -u)" = 0 ] || namespaces+=(--user --map-auto --map-root-user)
this_is_the_root() {
	# shellcheck disable=SC2034 # for setup and enter
	root=/ namespaces=()
}
[ ! -e "/$record" ] || this_is_the_root
