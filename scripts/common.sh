# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=sh
#
# What setup, demo and test share. Sourced; the caller has set `root` to the checkout.

# For the host's tools; mdbook-linkcheck2 asks for the most.
min_cargo=1.90

# version_of COMMAND: the first thing in `COMMAND --version` that looks like a version.
version_of() {
	"$1" --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9][0-9.]*\).*/\1/p'
}

# at_least VERSION MINIMUM
at_least() {
	[ -n "$1" ] && dpkg --compare-versions "$1" ge "$2"
}

# Set `cargo` to the first cargo that is new enough, or to nothing.
find_cargo() {
	for cargo in "$(command -v cargo || true)" /usr/bin/cargo; do
		# The proxies of rustup answer only when a toolchain is there.
		if [ -n "$cargo" ] && at_least "$(version_of "$cargo")" "$min_cargo"; then
			return 0
		fi
	done
	cargo=
	return 1
}

# Run the host tool.
xtask() {
	if ! find_cargo; then
		echo "cargo >= $min_cargo is missing: run scripts/setup" >&2
		exit 3
	fi
	cd "${root:?}" || exit 3
	if [ "$cargo" = /usr/bin/cargo ]; then
		# Not the rustc of an older toolchain that happens to come first on PATH.
		exec env RUSTC=/usr/bin/rustc "$cargo" xtask "$@"
	fi
	exec "$cargo" xtask "$@"
}
