#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The sample netdev-features on the real virtio_net: which devices lose the feature, when, and what they get back.
#
# Needs two virtio network cards on the PCI bus. `nic0` and `nic1` are alternative names for their devices: udev gives
# a new device a name of its own at a moment of its own, and the kernel's log has the name of that moment.
# The traffic goes to QEMU's user-mode network, in which the host is 10.0.2.2 and answers ping.
#
# xtask: modules=netdev-features,naive-netdev-features,selftests

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/samples.sh"
. "$(dirname "$0")/lock_order.sh"

LP=netdev_features
NAIVE=naive_netdev_features
DRIVER=/sys/bus/virtio/drivers/virtio_net
GATEWAY=${KLP_GATEWAY:-10.0.2.2}
ADDRESS=${KLP_ADDRESS:-10.0.2.15/24}

# ---- the cards ----------------------------------------------------------

# The PCI addresses of the cards.
find_cards()
{
	local dev

	for dev in "$DRIVER"/virtio*/net/*; do
		dev=$(realpath -e "$dev/../../..") && [ "$(basename "$(realpath "$dev/subsystem")")" = pci ] &&
			basename "$dev"
	done | sort
}

# name_of CARD: the name of its network device, if it is in this namespace
name_of()
{
	local dev

	for dev in "/sys/bus/pci/devices/$1"/virtio*/net/*; do
		if [ -d "$dev" ]; then
			basename "$dev"
			return 0
		fi
	done
	return 1
}

has_name()
{
	local name

	name=$(name_of "${CARDS[$1]}") &&
		{ ip link show "nic$1" || ip link property add dev "$name" altname "nic$1"; } >/dev/null 2>&1
}

give_names()
{
	local i

	for i in 0 1; do
		wait_for has_name "$i" || fail "card ${CARDS[i]} has no network device"
	done
}

# Until udev has given the names that it wants to give.
udev_settle()
{
	if command -v udevadm >/dev/null; then
		udevadm settle --timeout=3600
	fi
}

bring_back()
{
	if [ ! -d "/sys/bus/pci/devices/$1" ]; then
		echo 1 > /sys/bus/pci/rescan
	fi
}

reload_driver()
{
	rmmod virtio_net
	modprobe virtio_net
	give_names
}

# Both cards as the driver's probe leaves them, here, and with their names.
fresh_cards()
{
	if ! as_kept nic0 || ! as_kept nic1; then
		reload_driver
	fi
}

# ---- what ethtool says --------------------------------------------------

# ethtool -k calls rx-gro by an older name.
gro()
{
	ethtool -k "$1" | gro_line
}

gro_line()
{
	sed -n 's/^generic-receive-offload: //p'
}

feature()
{
	ethtool -k "$1" | sed -n "s/^[[:blank:]]*$2: //p"
}

# By the first name, as ethtool -K does not understand an answer with another than it used.
set_feature()
{
	ethtool -K "$(name_of "${CARDS[${1#nic}]}")" "$2" "$3" >/dev/null 2>&1
}

# The work that takes and gives is done soon, not at once.
# becomes WHAT WANTED CMD…: until CMD prints that
becomes()
{
	local what=$1 wanted=$2

	shift 2
	wait_for says "$wanted" "$@" || expect_eq "$what" "$wanted" "$("$@")"
}

says()
{
	[ "$("${@:2}")" = "$1" ]
}

expect_gro()
{
	local nic

	for nic in nic0 nic1; do
		becomes "rx-gro of $nic" "$1" gro "$nic"
	done
}

gro_in()
{
	in_ns "$1" ethtool -k "$2" | gro_line
}

# All that ethtool tells, but for the name.
features()
{
	ethtool -k "$1" | sed 1d
}

# keep NIC…: remember the features of each, for expect_kept
keep()
{
	local nic

	for nic in "$@"; do
		features "$nic" > "$KLP_TMP/features.$nic"
	done
}

as_kept()
{
	features "$1" | cmp -s - "$KLP_TMP/features.$1"
}

expect_kept()
{
	local nic

	for nic in "$@"; do
		wait_for as_kept "$nic" ||
		features "$nic" | diff -u --label before "$KLP_TMP/features.$nic" --label now - >&2 ||
			fail "^ features of $nic"
	done
}

# ---- traffic ------------------------------------------------------------

ping_tool()
{
	if command -v ping >/dev/null; then
		ping "$@"
	else
		busybox ping "$@"
	fi
}

# traffic_start NIC NAMESPACE: the card goes there and sends and receives till the case's end
traffic_start()
{
	ip link set "$1" netns "$2"
	ip -n "$2" address add "$ADDRESS" dev "$1"
	ip -n "$2" link set "$1" up
	in_ns "$2" bash -c "$(declare -f ping_tool); ping_tool -i 0.2 -s 1000 $GATEWAY" > "$KLP_TMP/ping.$1" 2>&1 &
	wait_for has_replies "$1" 3 || fail "$GATEWAY does not answer $1: $(cat "$KLP_TMP/ping.$1")"
}

replies()
{
	sed -n 's/.* bytes from .*seq=\([0-9]*\).*/\1/p' "$KLP_TMP/ping.$1"
}

has_replies()
{
	[ "$(replies "$1" | wc -l)" -ge "$2" ]
}

# Five more replies, and none missing since the first.
traffic_flows()
{
	local seqs first last

	wait_for has_replies "$1" $(($(replies "$1" | wc -l) + 5)) || fail "no more replies to $1"
	seqs=$(replies "$1")
	first=$(head -n 1 <<< "$seqs")
	last=$(tail -n 1 <<< "$seqs")
	expect_eq "replies to $1" "$(seq "$first" "$last")" "$seqs"
}

# ---- cases --------------------------------------------------------------

goes_off_and_comes_back()
{
	fresh_cards
	expect_gro "on"
	load_lp "$LP"
	expect_gro "off [fixed]"
	if set_feature nic0 gro on; then
		fail "ethtool could turn it on"
	fi
	expect_gro "off [fixed]"
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
	set_feature nic0 gro off
	becomes "rx-gro of nic0" "off" gro nic0
}

other_namespaces()
{
	fresh_cards
	netns_add klp_a
	netns_add klp_b
	ip link set nic0 netns klp_a
	load_lp "$LP"
	becomes "rx-gro in klp_a" "off [fixed]" gro_in klp_a nic0
	# One goes on to another namespace, one into the one that was left.
	ip -n klp_a link set nic0 netns klp_b
	ip link set nic1 netns klp_a
	becomes "rx-gro in klp_b" "off [fixed]" gro_in klp_b nic0
	becomes "rx-gro in klp_a" "off [fixed]" gro_in klp_a nic1
	# A card comes home when its namespace dies.
	ip netns del klp_a
	wait_for ip link show nic1 >/dev/null 2>&1
	becomes "rx-gro of nic1" "off [fixed]" gro nic1
	disable_lp "$LP"
	becomes "rx-gro in klp_b" "on" gro_in klp_b nic0
	becomes "rx-gro of nic1" "on" gro nic1
	unload_mod "$LP"
	expect_log "$LP" <<-'EOF'
		netdev_features: post_patch: virtio_net: rx-gro goes off
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
	EOF
}

what_an_administrator_chose()
{
	fresh_cards
	set_feature nic0 gro off
	load_lp "$LP"
	expect_gro "off [fixed]"
	# Other features are still his, and this one is not.
	set_feature nic0 tx-nocache-copy on
	set_feature nic1 tx-nocache-copy on
	set_feature nic0 gro on || true
	disable_lp "$LP"
	becomes "rx-gro of nic0" "off" gro nic0
	becomes "rx-gro of nic1" "on" gro nic1
	becomes "tx-nocache-copy of nic0" "on" feature nic0 tx-nocache-copy
	becomes "tx-nocache-copy of nic1" "on" feature nic1 tx-nocache-copy
	unload_mod "$LP"
}

driver_loaded_later()
{
	fresh_cards
	run rmmod virtio_net
	load_lp "$LP"
	run modprobe virtio_net
	give_names
	expect_gro "off [fixed]"
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
	expect_log % "$LP" <<-'EOF'
		% rmmod virtio_net
		% insmod netdev_features.ko
		% modprobe virtio_net
		netdev_features: post_patch: virtio_net: rx-gro goes off
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		% echo 0 > /sys/kernel/livepatch/netdev_features/enabled
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
		% rmmod netdev_features
	EOF
}

driver_reloaded()
{
	fresh_cards
	load_lp "$LP"
	run rmmod virtio_net
	run modprobe virtio_net
	give_names
	expect_gro "off [fixed]"
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
	expect_log % "$LP" <<-'EOF'
		% insmod netdev_features.ko
		netdev_features: post_patch: virtio_net: rx-gro goes off
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		% rmmod virtio_net
		~ netdev_features: [a-z0-9]+: forgotten
		~ netdev_features: [a-z0-9]+: forgotten
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
		% modprobe virtio_net
		netdev_features: post_patch: virtio_net: rx-gro goes off
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		% echo 0 > /sys/kernel/livepatch/netdev_features/enabled
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
		% rmmod netdev_features
	EOF
}

driver_unloaded_for_good()
{
	fresh_cards
	on_exit modprobe virtio_net
	load_lp "$LP"
	run rmmod virtio_net
	disable_lp "$LP"
	unload_mod "$LP"
	expect_log "$LP" <<-'EOF'
		netdev_features: post_patch: virtio_net: rx-gro goes off
		...
		~ netdev_features: [a-z0-9]+: forgotten
		~ netdev_features: [a-z0-9]+: forgotten
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
	EOF
}

card_removed_and_rescanned()
{
	fresh_cards
	on_exit bring_back "${CARDS[1]}"
	netns_add klp_a
	traffic_start nic0 klp_a
	load_lp "$LP"
	write_file "/sys/bus/pci/devices/${CARDS[1]}/remove" 1
	log_has "$LP: .*: forgotten" || fail "nic1 was not forgotten"
	write_file /sys/bus/pci/rescan 1
	wait_for has_name 1 || fail "the card did not come back"
	becomes "rx-gro of nic1" "off [fixed]" gro nic1
	traffic_flows nic0
	disable_lp "$LP"
	expect_kept nic1
	unload_mod "$LP"
}

card_that_stays_away()
{
	fresh_cards
	on_exit bring_back "${CARDS[1]}"
	load_lp "$LP"
	echo 1 > "/sys/bus/pci/devices/${CARDS[1]}/remove"
	disable_lp "$LP"
	expect_kept nic0
	unload_mod "$LP"
	expect_log "$LP" <<-'EOF'
		netdev_features: post_patch: virtio_net: rx-gro goes off
		...
		~ netdev_features: [a-z0-9]+: forgotten
		netdev_features: pre_unpatch: virtio_net: rx-gro comes back
		~ netdev_features: [a-z0-9]+: rx-gro given back, is on
	EOF
}

renamed()
{
	fresh_cards
	udev_settle
	load_lp "$LP"
	run ip link set nic0 name klp0
	run ip link set nic1 name klp1
	expect_gro "off [fixed]"
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
	expect_log % "$LP" <<-'EOF'
		...
		% ip link set nic1 name klp1
		...
		~ netdev_features: klp[01]: rx-gro given back, is on
		~ netdev_features: klp[01]: rx-gro given back, is on
		...
	EOF
}

other_drivers()
{
	fresh_cards
	load_mod dummy
	on_exit ip link del klp_veth0
	ip link add klp_dummy type dummy
	ip link add klp_veth0 type veth peer name klp_veth1
	keep lo klp_dummy klp_veth0 klp_veth1
	load_lp "$LP"
	expect_gro "off [fixed]"
	expect_kept lo klp_dummy klp_veth0 klp_veth1
	# Nor those that appear later.
	ip link del klp_veth0
	ip link add klp_veth0 type veth peer name klp_veth1
	expect_kept klp_veth0 klp_veth1
	disable_lp "$LP"
	expect_kept lo klp_dummy klp_veth0 klp_veth1
	unload_mod "$LP"
	unload_mod dummy
}

traffic()
{
	fresh_cards
	netns_add klp_a
	netns_add klp_b
	traffic_start nic0 klp_a
	traffic_start nic1 klp_b
	traffic_flows nic0
	load_lp "$LP"
	traffic_flows nic0
	traffic_flows nic1
	disable_lp "$LP"
	traffic_flows nic0
	traffic_flows nic1
	unload_mod "$LP"
}

# Not in hw_features: the driver does not expect to have it switched.
fixed_feature()
{
	fresh_cards
	if [ "$(feature nic0 rx-vlan-filter)" != "on [fixed]" ]; then
		skip "the cards have no rx-vlan-filter that is fixed"
	fi
	load_fails EOPNOTSUPP "$LP" feature=rx-vlan-filter
	expect_kept nic0 nic1
	expect_log "$LP" <<-'EOF'
		~ netdev_features: [a-z0-9]+: rx-vlan-filter is on, and the driver has fixed it
	EOF
	# It comes too late to refuse the livepatch.
	run rmmod virtio_net
	load_lp "$LP" feature=rx-vlan-filter
	run modprobe virtio_net
	give_names
	expect_kept nic0 nic1
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
}

# Wanted, but off because the cards lack another feature.
feature_that_is_only_wanted()
{
	fresh_cards
	if [ "$(feature nic0 generic-segmentation-offload)" != "off [requested on]" ]; then
		skip "the cards have scatter-gather"
	fi
	load_lp "$LP" feature=tx-generic-segmentation
	becomes "GSO of nic0" "off [fixed]" feature nic0 generic-segmentation-offload
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
}

feature_that_no_card_has()
{
	fresh_cards
	if [ "$(feature nic0 tx-scatter-gather-fraglist)" != "off [fixed]" ]; then
		skip "the cards have tx-scatter-gather-fraglist"
	fi
	load_lp "$LP" feature=tx-scatter-gather-fraglist
	expect_kept nic0 nic1
	disable_lp "$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
	expect_log "$LP" <<-'EOF'
		netdev_features: post_patch: virtio_net: tx-scatter-gather-fraglist goes off
		netdev_features: pre_unpatch: virtio_net: tx-scatter-gather-fraglist comes back
	EOF
}

# Callbacks revert, Drop only frees: the patch that took over owns the changed system.
replaced()
{
	fresh_cards
	load_lp "$LP"
	expect_gro "off [fixed]"
	keeps_its_state "$LP" expect_gro "off [fixed]"
	# Nobody watches any more.
	reload_driver
	expect_gro "on"
	expect_log "$LP" <<-'EOF'
		netdev_features: post_patch: virtio_net: rx-gro goes off
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
		~ netdev_features: [a-z0-9]+: rx-gro taken, was on
	EOF
}

bad_input()
{
	fresh_cards
	load_fails EINVAL "$LP" feature=warp-drive
	log_has "$LP: .warp-drive' invalid for parameter .feature'" || fail "the log does not tell what is invalid"
	load_fails EINVAL "$LP" feature=
	expect_kept nic0 nic1

	load_lp "$LP"
	expect_file "/sys/module/$LP/parameters/feature" rx-gro
	expect_eq "mode of the parameter" 444 "$(stat -c %a "/sys/module/$LP/parameters/feature")"
	expect_fail EEXIST insmod "$(find_ko "$LP")"
	if rmmod "$LP" 2>/dev/null; then
		fail "$LP was removed while enabled"
	fi
	write_file "$KLP_SYSFS/$LP/enabled" 0
	wait_for test ! -e "$KLP_SYSFS/$LP"
	expect_kept nic0 nic1
	unload_mod "$LP"
}

# Devices come, go and move all the while. Whatever the patch met, nothing is left of it.
restless_devices()
{
	local pids=() pid

	fresh_cards
	on_exit bring_back "${CARDS[1]}"
	netns_add klp_a
	moving & pids+=($!)
	making & pids+=($!)
	plugging & pids+=($!)
	until [ -e "$KLP_TMP/enough" ]; do
		load_lp "$LP"
		disable_lp "$LP"
		unload_mod "$LP"
		echo >> "$KLP_TMP/cycles"
		if [ "$(times cycles)" -ge 5 ] && [ "$(times moving)" -ge 10 ] && [ "$(times making)" -ge 10 ] &&
			[ "$(times plugging)" -ge 10 ]; then
			touch "$KLP_TMP/enough"
		fi
		for pid in "${pids[@]}"; do
			[ -e "$KLP_TMP/enough" ] || kill -0 "$pid" || fail "who disturbs has died"
		done
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "who disturbs has failed"
	done
	diag "$(times cycles) loads, $(times moving) moves, $(times making) pairs of veth, $(times plugging) unplugged"
	give_names
	expect_kept nic0 nic1
}

times()
{
	wc -l 2>/dev/null < "$KLP_TMP/$1" || echo 0
}

moving()
{
	until [ -e "$KLP_TMP/enough" ]; do
		ip link set nic0 netns klp_a
		ip -n klp_a link set nic0 netns 1
		echo >> "$KLP_TMP/moving"
	done
}

making()
{
	until [ -e "$KLP_TMP/enough" ]; do
		ip link add klp_veth0 type veth peer name klp_veth1
		ip link del klp_veth0
		echo >> "$KLP_TMP/making"
	done
}

plugging()
{
	until [ -e "$KLP_TMP/enough" ]; do
		echo 1 > "/sys/bus/pci/devices/${CARDS[1]}/remove"
		echo 1 > /sys/bus/pci/rescan
		echo >> "$KLP_TMP/plugging"
	done
}

# A card of our own that merges packets itself, CARD is its device. QEMU's have no such feature.
add_card()
{
	load_mod test_klp_virtio_net "$@"
	wait_for has_card || fail "virtio_net does not drive the card"
	udev_settle
	has_card
}

has_card()
{
	local at

	for at in /sys/devices/test_klp_virtio_net/virtio*/net/*; do
		CARD=${at##*/}
		[ -d "$at" ] && return
	done
	return 1
}

card_says()
{
	expect_file "/sys/module/test_klp_virtio_net/parameters/$1" "$2"
}

# Without a control queue virtio_net dies of the attempt to switch rx-gro-hw.
without_control_queue()
{
	fresh_cards
	add_card control=0
	expect_eq "rx-gro-hw of $CARD" "on [fixed]" "$(feature "$CARD" rx-gro-hw)"
	load_fails EOPNOTSUPP "$LP" feature=rx-gro-hw
	unload_mod test_klp_virtio_net
	load_lp "$LP" feature=rx-gro-hw
	add_card control=0
	expect_eq "rx-gro-hw of $CARD" "on [fixed]" "$(feature "$CARD" rx-gro-hw)"
	log_has "$LP: .*: rx-gro-hw is on, and the driver has fixed it" || fail "nobody tells of it"
	disable_lp "$LP"
	unload_mod "$LP"
	unload_mod test_klp_virtio_net
}

# In the middle of its probe a card is not ready for commands.
not_before_it_is_ready()
{
	fresh_cards
	load_lp "$LP" feature=rx-gro-hw
	add_card
	becomes "rx-gro-hw of $CARD" "off [fixed]" feature "$CARD" rx-gro-hw
	card_says commands 1
	card_says early 0
	disable_lp "$LP"
	becomes "rx-gro-hw of $CARD" "on" feature "$CARD" rx-gro-hw
	card_says commands 2
	unload_mod "$LP"
	unload_mod test_klp_virtio_net
}

# Neither is taken what the driver does not let go, nor called given back what it does not take.
driver_refuses()
{
	fresh_cards
	add_card refuse=1
	load_lp "$LP" feature=rx-gro-hw
	wait_for log_has "$LP: $CARD: rx-gro-hw cannot be taken now" || fail "nobody tells of it"
	expect_eq "rx-gro-hw of $CARD" "on" "$(feature "$CARD" rx-gro-hw)"
	expect_no_log "$LP: .* taken, was"
	# The next chance is when it goes up.
	set_param test_klp_virtio_net refuse 0
	run ip link set "$CARD" up
	expect_eq "rx-gro-hw of $CARD" "off [fixed]" "$(feature "$CARD" rx-gro-hw)"
	run ip link set "$CARD" down
	set_param test_klp_virtio_net refuse 1
	disable_lp "$LP"
	wait_for log_has "$LP: $CARD: rx-gro-hw given back, but is off \[requested on\], and was on" ||
		fail "nobody tells that it did not come back"
	unload_mod "$LP"
	unload_mod test_klp_virtio_net
}

# Whoever holds RTNL may wait for a module, and that for klp_mutex.
module_under_rtnl()
{
	under_rtnl_needs
	fresh_cards
	hold_rtnl
	unload_later "$LP"
	begin_to insmod "$(find_ko "$LP")"
	wait_for stack_has "$BEGUN" register_netdevice_notifier || fail "$LP does not wait for RTNL"
	loaded_under_rtnl
	wait "$BEGUN"
	wait_transition "$LP"
	expect_gro "off [fixed]"

	# Not one callback waits for it.
	hold_rtnl
	write_file "$KLP_SYSFS/$LP/enabled" 0 &
	wait_for test ! -e "$KLP_SYSFS/$LP" || {
		kill "$MODPROBE" # before it waits for the callback
		fail "a callback waits for RTNL"
	}
	log_has "$LP: pre_unpatch" || fail "no pre_unpatch"
	expect_no_log "given back"
	loaded_under_rtnl
	expect_gro "on"

	hold_rtnl
	begin_to rmmod "$LP"
	wait_for stack_has "$BEGUN" unregister_netdevice_notifier || fail "rmmod does not wait for RTNL"
	loaded_under_rtnl
	wait "$BEGUN"
	expect_kept nic0 nic1
}

# The module goes before the work has come to any device.
removed_at_once()
{
	local i

	fresh_cards
	for i in 1 2 3 4 5; do
		log "# round $i"
		load_lp "$LP"
		disable_lp "$LP"
		unload_mod "$LP"
		as_kept nic0 || fail "round $i: nic0 is not as before"
		as_kept nic1 || fail "round $i: nic1 is not as before"
	done
}

# Names that are the same everywhere, for a transcript.
same_names()
{
	udev_settle
	ip link set "$(name_of "${CARDS[0]}")" name net0
	ip link set "$(name_of "${CARDS[1]}")" name net1
}

# The work may be done before the core has said its last word of a transition, or after it.
work_last()
{
	awk '/: rx-gro (taken|given back)/ { work = work $0 "\n"; next }
		/^[%#]/ { printf "%s", work; work = "" }
		{ print }
		END { printf "%s", work }'
}

transcript()
{
	local TRANSCRIPT_FILTER=work_last

	fresh_cards
	same_names
	log_mark "transcript"
	show_gro
	load_lp "$LP"
	expect_gro "off [fixed]"
	show_gro
	run ethtool -K net0 gro on >/dev/null 2>&1 && fail "ethtool could turn it on"
	show_gro
	disable_lp "$LP"
	expect_gro "on"
	show_gro
	unload_mod "$LP"
	check_transcript netdev-features "$LP"
}

show_gro()
{
	show echo "net0: generic-receive-offload: $(gro net0)"
	show echo "net1: generic-receive-offload: $(gro net1)"
}

# ANCHOR: naive
naive()
{
	fresh_cards
	same_names
	netns_add klp_a
	log_mark
	run ip link set net1 netns klp_a
	load_lp "$NAIVE"
	show echo "net0: generic-receive-offload: $(gro net0)"
	show echo "net1: generic-receive-offload: $(in_ns klp_a ethtool -k net1 | gro_line)"
	expect_eq "rx-gro of net0" "on [fixed]" "$(gro net0)"
	# The devices of a driver that comes later are not there yet when it looks.
	run rmmod virtio_net
	run modprobe virtio_net
	give_names
	same_names
	show_gro
	expect_gro "on"
	# What an administrator has chosen is not what he gets back.
	run ethtool -K net0 gro off
	disable_lp "$NAIVE"
	show_gro
	expect_gro "on"
	unload_mod "$NAIVE"
	check_transcript naive-netdev-features "$NAIVE"
}
# ANCHOR_END: naive

require_command ethtool ip
require_config CONFIG_NET_NS
require_module virtio_net
require_ko "$LP" "$NAIVE" test_klp_atomic_replace test_klp_successor test_klp_virtio_net
if [ -n "${SSH_CONNECTION:-}" ]; then
	skip "it takes the network down, through which you are logged in"
fi
if ! command -v ping >/dev/null && ! command -v busybox >/dev/null; then
	skip "no command ping"
fi
modprobe virtio_net || fail "virtio_net cannot be loaded"
# A device that is being renamed is not there for a moment.
! command -v udevadm >/dev/null || udevadm settle
mapfile -t CARDS < <(find_cards)
if [ "${#CARDS[@]}" -lt 2 ]; then
	skip "needs two virtio network cards on the PCI bus, found ${#CARDS[@]}"
fi

ktap_plan 24
reload_driver
keep nic0 nic1
on_exit reload_driver

ktap_case "R1: every device loses the feature, nobody can turn it on, all get it back" goes_off_and_comes_back
ktap_case "the log tells the story" transcript
ktap_case "devices in other namespaces lose it, and keep off while they move" other_namespaces
ktap_case "each gets back what it lost, and what an administrator chose stays" what_an_administrator_chose
ktap_case "R5: the driver is loaded after the livepatch" driver_loaded_later
ktap_case "R6: the driver is reloaded under the livepatch" driver_reloaded
ktap_case "R6: the driver goes and does not come back" driver_unloaded_for_good
ktap_case "a card is removed and found again" card_removed_and_rescanned
ktap_case "a card that died is forgotten" card_that_stays_away
ktap_case "devices get new names" renamed
ktap_case "devices of other drivers stay as they are" other_drivers
ktap_case "traffic flows before, while and after" traffic
ktap_case "a feature that is fixed" fixed_feature
ktap_case "a feature that is wanted but off" feature_that_is_only_wanted
ktap_case "a feature that no device has does no harm" feature_that_no_card_has
ktap_case "R13: a successor that does not know of the feature is refused, another leaves it off" replaced
ktap_case "bad input is refused" bad_input
ktap_case "naive: the feature stays on, and a device elsewhere or later is missed" naive
ktap_case "a card without a control queue" without_control_queue
ktap_case "a card that appears is sent no command before it is ready" not_before_it_is_ready
ktap_case "a driver that refuses to switch the feature" driver_refuses
ktap_case "devices that come, go and move all the while" restless_devices
ktap_case "a module is loaded under RTNL while the livepatch comes and goes" module_under_rtnl
ktap_case "after rmmod every device has its own setting" removed_at_once
ktap_finish
