# SPDX-License-Identifier: GPL-2.0
#
# Inline functions and macros of the kernel for Rust, as the kernel's own rust/helpers has them. A module's Kbuild file says
#
#	sysctl_update-y := helpers.o
#	include $(KLP)/klp.mk
#	include $(KLP)/helpers.mk
#
# and its bindings.h includes helpers.c: rust_helper_X() in there is `bindings::X` in Rust.

bindings-flags += --allowlist-function 'rust_helper_.*'
$(obj)/bindings_generated.rs: $(src)/helpers.c

cmd_klp_bindgen += && \
	sed -Ei 's/pub fn rust_helper_([a-zA-Z0-9_]*)/$(pound)[link_name = "rust_helper_\1"]\n    pub fn \1/' $@

# Nobody else calls them.
CFLAGS_REMOVE_helpers.o += -Wmissing-prototypes -Wmissing-declarations
