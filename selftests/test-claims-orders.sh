#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# In which order, in which task and in which state of the target callbacks run, where the book's tables say more than the
# kernel's page; and what force leaves behind, which comes last because it stays.
#
# xtask: modules=claims,naive-netdev-features,selftests nics=1

. "$(dirname "$0")/functions.sh"
. "$KLP_DIR/rules.sh"
. "$KLP_DIR/lock_order.sh"

rules_needs rules_all rules_next rules_other rules_target rules_subset_{0,1,2} claims_notifier claims_target claims_tasks
require_file /proc/self/stack
ktap_plan 14

# The name of the task that writes to sysfs: the script itself.
read_file /proc/self/comm
ME=$REPLY

# begin_to_load NAME [P=V…]: in the background
begin_to_load()
{
	unload_later "$1"
	begin_to insmod "$(find_ko "$1")" "${@:2}"
}

# ANCHOR: tasks
# Nothing holds the transitions up; whether they end at once is chance on a machine with several processors.
tasks()
{
	load_mod rules_target
	load_lp claims_tasks
	load_mod rules_other
	unload_mod rules_other
	disable_lp claims_tasks
	expect_log claims_tasks <<-EOF
		claims_tasks: pre_patch: vmlinux: insmod
		claims_tasks: pre_patch: rules_target: Live: insmod
		~ claims_tasks: post_patch: vmlinux: (insmod|kworker)
		~ claims_tasks: post_patch: rules_target: Live: (insmod|kworker)
		claims_tasks: pre_patch: rules_other: Coming: insmod
		claims_tasks: post_patch: rules_other: Coming: insmod
		claims_tasks: pre_unpatch: rules_other: Going: rmmod
		claims_tasks: post_unpatch: rules_other: Going: rmmod
		claims_tasks: pre_unpatch: vmlinux: $ME
		claims_tasks: pre_unpatch: rules_target: Live: $ME
		~ claims_tasks: post_unpatch: vmlinux: ($ME|kworker)
		~ claims_tasks: post_unpatch: rules_target: Live: ($ME|kworker)
	EOF
}

# A parked task does, and a target comes meanwhile.
tasks_later()
{
	load_mod rules_target
	park
	load_lp_nowait claims_tasks
	load_mod rules_other
	expect_stalled claims_tasks
	unpark
	wait_transition claims_tasks
	park
	write_file "$KLP_SYSFS/claims_tasks/enabled" 0
	expect_stalled claims_tasks
	unpark
	wait_for test ! -e "$KLP_SYSFS/claims_tasks"
	expect_log claims_tasks <<-EOF
		claims_tasks: pre_patch: vmlinux: insmod
		claims_tasks: pre_patch: rules_target: Live: insmod
		claims_tasks: pre_patch: rules_other: Coming: insmod
		claims_tasks: post_patch: vmlinux: kworker
		claims_tasks: post_patch: rules_target: Live: kworker
		claims_tasks: post_patch: rules_other: Live: kworker
		claims_tasks: pre_unpatch: vmlinux: $ME
		claims_tasks: pre_unpatch: rules_target: Live: $ME
		claims_tasks: pre_unpatch: rules_other: Live: $ME
		claims_tasks: post_unpatch: vmlinux: kworker
		claims_tasks: post_unpatch: rules_target: Live: kworker
		claims_tasks: post_unpatch: rules_other: Live: kworker
	EOF
}

# A reversed and a forced transition could end at once, and do not.
tasks_reversed()
{
	load_mod rules_target
	park
	load_lp_nowait claims_tasks
	expect_stalled claims_tasks
	log_mark
	disable_lp claims_tasks
	unload_mod claims_tasks
	load_lp_nowait claims_tasks
	expect_stalled claims_tasks
	write_file "$KLP_SYSFS/claims_tasks/force" 1
	wait_transition claims_tasks
	unpark
	expect_log claims_tasks <<-'EOF'
		claims_tasks: post_unpatch: vmlinux: kworker
		claims_tasks: post_unpatch: rules_target: Live: kworker
		claims_tasks: pre_patch: vmlinux: insmod
		claims_tasks: pre_patch: rules_target: Live: insmod
		claims_tasks: post_patch: vmlinux: kworker
		claims_tasks: post_patch: rules_target: Live: kworker
	EOF
	disable_lp claims_tasks
}

tasks_failed()
{
	load_mod rules_target
	load_mod rules_other
	load_fails ENODEV claims_tasks fail=1
	expect_log claims_tasks <<-'EOF'
		claims_tasks: pre_patch: vmlinux: insmod
		claims_tasks: pre_patch: rules_target: Live: insmod
		claims_tasks: pre_patch: rules_other: Live: insmod
		claims_tasks: post_unpatch: vmlinux: insmod
		claims_tasks: post_unpatch: rules_target: Live: insmod
	EOF
}
# ANCHOR_END: tasks

# ANCHOR: init-fails
init_fails()
{
	load_lp claims_tasks
	log_mark
	load_fails ENODEV claims_target fail=1
	expect_log claims_tasks claims_target <<-'EOF'
		claims_tasks: pre_patch: claims_target: Coming: insmod
		claims_tasks: post_patch: claims_target: Coming: insmod
		claims_target: init: twin 1
		claims_target: init fails
		claims_tasks: pre_unpatch: claims_target: Going: insmod
		claims_tasks: post_unpatch: claims_target: Going: insmod
	EOF
}
# ANCHOR_END: init-fails

# ANCHOR: refused-by-others
# A notifier, or another livepatch, refuses the target.
notifier_refuses()
{
	load_mod claims_notifier
	load_lp claims_tasks
	log_mark
	load_fails EPERM claims_target
	expect_log claims_tasks claims_target <<-'EOF'
		claims_tasks: pre_patch: claims_target: Coming: insmod
		claims_tasks: post_patch: claims_target: Coming: insmod
		claims_tasks: pre_unpatch: claims_target: Coming: insmod
		claims_tasks: post_unpatch: claims_target: Coming: insmod
	EOF
}

other_refuses()
{
	load_lp claims_tasks
	load_lp rules_all fail=rules_target
	log_mark
	load_fails ENODEV rules_target
	expect_log claims_tasks rules_all rules_target <<-'EOF'
		claims_tasks: pre_patch: rules_target: Coming: insmod
		claims_tasks: post_patch: rules_target: Coming: insmod
		rules_all: pre_patch: rules_target: fails with 19
		claims_tasks: pre_unpatch: rules_target: Coming: insmod
		claims_tasks: post_unpatch: rules_target: Coming: insmod
	EOF
}
# ANCHOR_END: refused-by-others

# Its pre_unpatch has run when it goes: no second one does.
goes_while_unpatching()
{
	load_mod rules_target
	load_mod rules_other
	load_lp claims_tasks
	park
	write_file "$KLP_SYSFS/claims_tasks/enabled" 0
	log_mark
	unload_mod rules_other
	expect_stalled claims_tasks
	expect_log claims_tasks <<-'EOF'
		claims_tasks: post_unpatch: rules_other: Going: rmmod
	EOF
	unpark
	wait_for test ! -e "$KLP_SYSFS/claims_tasks"
}

# ANCHOR: states
# What init makes is there, and the target is still Coming.
coming_with_devices()
{
	begin_to_load claims_target wait_in=init
	on_exit restore_file /sys/module/claims_target/parameters/wait_in none
	wait_for test -e /proc/claims_target
	load_lp claims_tasks
	log_has '^claims_tasks: pre_patch: claims_target: Coming: insmod$' || fail "it is not Coming"
	log_has '^claims_tasks: post_patch: claims_target: Coming: ' || fail "it is not Coming any more"
	set_param claims_target wait_in none
	wait "$BEGUN"
	log_mark
	disable_lp claims_tasks
	log_has "^claims_tasks: pre_unpatch: claims_target: Live: $ME\$" || fail "it is not Live"
}

# It is Going, exit has only begun, and the unpatch callbacks run beside it; when it is over, none does.
going_before_exit()
{
	load_mod claims_target wait_in=exit
	on_exit restore_file /sys/module/claims_target/parameters/wait_in none
	load_lp claims_tasks
	begin_to rmmod claims_target
	wait_for log_has '^claims_target: exit$'
	log_mark
	disable_lp claims_tasks
	[ -e /proc/claims_target ] || fail "what exit removes is not there any more"
	set_param claims_target wait_in none
	wait "$BEGUN"
	expect_log claims_tasks <<-EOF
		claims_tasks: pre_unpatch: vmlinux: $ME
		claims_tasks: pre_unpatch: claims_target: Going: $ME
		~ claims_tasks: post_unpatch: vmlinux: ($ME|kworker)
		~ claims_tasks: post_unpatch: claims_target: Going: ($ME|kworker)
	EOF
}
# ANCHOR_END: states

# ANCHOR: held
# Who waits while a callback runs: for the open file (by pwrite(), since write() would wait for the place in the file before
# that), for klp_mutex by another open file and by one that is only read, and to load any module at all.
held()
{
	local enabled=$KLP_SYSFS/claims_tasks/enabled file first second third fourth

	require_command python3
	load_lp claims_tasks hold=1
	on_exit restore_file /sys/module/claims_tasks/parameters/hold 0
	exec {file}> "$enabled"
	echo 0 >&"$file" &
	first=$!
	wait_for log_has "^claims_tasks: pre_unpatch: vmlinux: $ME\$"
	stack_has "$first" kernfs_fop_write_iter || fail "$(cat "/proc/$first/stack")"
	python3 -c "import os; os.pwrite($file, b'0', 0)" 2> /dev/null &
	second=$!
	echo 0 2> /dev/null > "$enabled" &
	third=$!
	cat "$KLP_SYSFS/claims_tasks/stack_order" &> /dev/null &
	fourth=$!
	begin_to_load rules_other
	# Taken back before rules_other is: its rmmod would wait for the callback.
	on_exit restore_file /sys/module/claims_tasks/parameters/hold 0
	wait_for stack_has "$second" kernfs_fop_write_iter
	wait_for stack_has "$third" enabled_store
	wait_for stack_has "$fourth" stack_order_show
	wait_for stack_has "$BEGUN" klp_module_coming
	# Anybody else who would go on has the time to.
	sleep 5
	if stack_has "$second" enabled_store; then
		fail "the second write of an open file waits for klp_mutex"
	fi
	stack_has "$second" kernfs_fop_write_iter || fail "the second write is over"
	stack_has "$third" enabled_store || fail "the third write is over"
	stack_has "$fourth" stack_order_show || fail "the read is over"
	stack_has "$BEGUN" klp_module_coming || fail "rules_other is loaded"
	set_param claims_tasks hold 0
	wait "$first" "$BEGUN"
	wait "$second" "$third" "$fourth" || true # there is nothing left to disable, or to read
	wait_for test ! -e "$KLP_SYSFS/claims_tasks"
}
# ANCHOR_END: held

# ANCHOR: killed
# The deadlock of test-naive-netdev-features-lock.sh ends when the task that holds RTNL is killed.
killed()
{
	local loader

	under_rtnl_needs
	require_module virtio_net
	require_ko naive_netdev_features_lock
	[ -d /sys/module/virtio_net ] || modprobe virtio_net
	hold_rtnl
	begin_to_load naive_netdev_features_lock
	loader=$BEGUN
	wait_for stack_has "$loader" register_netdevice_notifier
	load_under_rtnl
	wait_for stack_has "$MODPROBE" klp_module_coming
	kill -KILL "$loader" "$MODPROBE"
	# Anybody who would go on has the time to.
	sleep 5
	stack_has "$loader" register_netdevice_notifier || fail "insmod went on"
	stack_has "$MODPROBE" klp_module_coming || fail "modprobe went on"
	kill -KILL "$ROUTE"
	wait "$ROUTE" "$loader" || true # killed, all of them, when they come out of the kernel
	wait_for test -d "/sys/module/$MODULE_UNDER_RTNL" || fail "modprobe does not go on"
	wait_transition naive_netdev_features_lock
	unload_mod "$MODULE_UNDER_RTNL"
	disable_lp naive_netdev_features_lock
}
# ANCHOR_END: killed

# ANCHOR: pinned
# Only who was forced out stays: of two livepatches the one that is being disabled,
forced_out()
{
	load_mod rules_target
	load_lp rules_subset_1
	load_lp claims_tasks
	park
	write_file "$KLP_SYSFS/claims_tasks/enabled" 0
	expect_stalled claims_tasks
	may_stay claims_tasks
	log_mark
	write_file "$KLP_SYSFS/claims_tasks/force" 1
	wait_for test ! -e "$KLP_SYSFS/claims_tasks"
	expect_log claims_tasks <<-'EOF'
		claims_tasks: post_unpatch: vmlinux: kworker
		claims_tasks: post_unpatch: rules_target: Live: kworker
	EOF
	unpark
	disable_lp rules_subset_1
	unload_mod rules_subset_1
	expect_in_use claims_tasks
}

# and of three those that are replaced, whether anybody was in them or not.
forced_replace()
{
	load_mod rules_target
	load_lp rules_subset_0
	load_lp rules_subset_2
	park
	load_lp_nowait rules_next
	expect_stalled rules_next
	may_stay rules_subset_0
	may_stay rules_subset_2
	write_file "$KLP_SYSFS/rules_next/force" 1
	wait_transition rules_next
	unpark
	wait_for test ! -e "$KLP_SYSFS/rules_subset_2"
	disable_lp rules_next
	unload_mod rules_next
	expect_in_use rules_subset_0
	expect_in_use rules_subset_2
}
# ANCHOR_END: pinned

ktap_case "callbacks run in the task of who asked, or in a kworker" tasks
ktap_case "what ends later ends in a kworker" tasks_later
ktap_case "a reversed and a forced transition end in a kworker" tasks_reversed
ktap_case "post_unpatch after a failed enable runs in the loader's task" tasks_failed
ktap_case "a target whose init fails is Going, and its exit does not run" init_fails
ktap_case "a target that a notifier refuses is Coming" notifier_refuses
ktap_case "a target that another livepatch refuses is Coming" other_refuses
ktap_case "a target that goes during unpatching gets post_unpatch alone" goes_while_unpatching
ktap_case "a target whose init runs is Coming, and has devices" coming_with_devices
ktap_case "a target whose exit runs is Going, and is unpatched beside it" going_before_exit
ktap_case "a callback holds klp_mutex, and the open file that it was asked by" held
ktap_case "a deadlock with RTNL ends when the task that holds it is killed" killed
ktap_case "forced out, a livepatch stays, and others do not" forced_out
ktap_case "forced, a replacement stays not, and all that it replaced do" forced_replace
ktap_finish
