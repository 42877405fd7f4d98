# SPDX-License-Identifier: GPL-2.0
#
# Builds livepatch modules written in Rust on the crate `klp`. A module's Kbuild file says
#
#	klp-m := sysctl_update
#	KLP ?= $(src)/../../shared/klp
#	include $(KLP)/klp.mk
#
# and each name in klp-m becomes a module <name>.ko out of <name>.rs and what it uses of the crate: a livepatch module
# stays self-contained. Further objects are listed as for any composite module: `sysctl_update-y := helpers.o`.
#
# The crate is compiled in the module's own folder, so that the folder can be copied. It comes out the same in each
# folder of one kernel: where KLP_PREBUILT names the output folder of ./Kbuild, the one there is taken.
#
# Where the folder holds a bindings.h, bindgen turns it into bindings_generated.rs first. What of it is wanted
# is said by bindgen's own options in `bindings-flags`.

# Rust's `include!` finds the generated files here.
export KLP_OBJ := $(abspath $(obj))

obj-m += $(addsuffix .o,$(klp-m))
$(foreach m,$(klp-m),$(eval $(m)-y += $(m)_main.o))

# The kernel's own bindings serve for every type that is not named here, so that `struct kobject` and its like
# are the same type on both sides. The opaque types mix packed and aligned parts, which Rust has no way to spell, or
# (socket_lock_t) have an unnamed member with a tag, which bindgen drops.
# Unlike the kernel's own, these bindings keep bindgen's layout assertions: a type that came out wrong fails the build.
klp-bindgen-common := --use-core --with-derive-default --ctypes-prefix kernel::ffi --no-debug '.*' \
	--enable-function-attribute-detection --no-doc-comments --rust-target 1.85
klp-opaque := $(addprefix --opaque-type ,alt_instr arch_lbr_state arch_specific_insn desc_struct local_apic \
	'ns_common.*' sched_statistics socket_lock_t__bindgen_ty_1 x86_msi_addr_lo x86_msi_data xregs_state)
klp-bindings-flags := --no-recursive-allowlist --allowlist-type 'klp_.*' --allowlist-function 'klp_.*' \
	--allowlist-type 'kprobe|kprobe_opcode_t|kprobe_(pre|post)_handler_t|arch_specific_insn' \
	--allowlist-function '(un)?register_kprobe' --allowlist-var 'KPROBE_FLAG_.*|klp_offset_of_.*' \
	--allowlist-type static_call_key --opaque-type static_call_key --allowlist-function __static_call_update

# bindgen is clang, and must not see what only gcc knows: the kernel's own rust/Makefile has the list.
ifndef CONFIG_CC_IS_CLANG
klp-gcc-only := $(shell sed -n '/^bindgen_skip_c_flags := /,/[^\\]$$/{s/.*:=//;s/\\$$//;p}' $(srctree)/rust/Makefile)
klp-bindgen-target := $(shell sed -n 's/^BINDGEN_TARGET_$(SRCARCH)[[:space:]]*:= *//p' $(srctree)/rust/Makefile)
klp-clang-flags := --target=$(klp-bindgen-target)
endif

# Where callbacks belong to states, by the kernel's headers, or by one that KLP_LIVEPATCH_H names in the place of
# <linux/livepatch.h>: proposed/livepatch.h.
klp-livepatch-h := $(or $(KLP_LIVEPATCH_H),$(wildcard $(srctree)/include/linux/livepatch*.h))
ifneq ($(shell grep -l '^struct klp_state_callbacks {' /dev/null $(klp-livepatch-h)),)
klp-cfg += --cfg klp_state_callbacks
klp-clang-flags += $(addprefix -include ,$(KLP_LIVEPATCH_H)) -DKLP_STATE_CALLBACKS
endif

# From 1.98 on, rustc can begin functions as `-mfentry` lets a C compiler do, if the kernel's target.json has
# "supports-fentry": then ftrace reaches those of a module that are not inlined, as it reaches C's. It does not list them for
# ftrace as gcc does; objtool, which else does that for clang, can.
klp-fentry-flag := -Zinstrument-mcount=fentry
klp-fentry := $(and $(CONFIG_X86_64),$(CONFIG_DYNAMIC_FTRACE),$(call rustc-min-version,109800),$(shell \
	RUSTC_BOOTSTRAP=1 $(RUSTC) $(filter --target=%,$(KBUILD_RUSTFLAGS)) -Zunstable-options $(klp-fentry-flag) --print=cfg \
	>/dev/null 2>&1 && echo $(klp-fentry-flag)))
ifdef klp-fentry
klp-cfg += --cfg klp_fentry
klp-mcount := $(if $(CONFIG_FTRACE_MCOUNT_USE_CC),--mcount)
endif

quiet_cmd_klp_bindgen = BINDGEN $(quiet_modtag) $@
      cmd_klp_bindgen = $(BINDGEN) $< $(klp-bindgen-common) $(klp-opaque) $(klp-flags) -o $@ -- \
	$(filter-out $(klp-gcc-only) $(CC_FLAGS_LTO) -Wp$(comma)-MMD%,$(c_flags)) $(klp-clang-flags) -w -fno-builtin \
	-D__BINDGEN__ -DMODULE

$(obj)/klp_bindings.rs: private klp-flags = $(klp-bindings-flags)
$(obj)/klp_bindings.rs: $(KLP)/bindings.h FORCE
	$(call if_changed,klp_bindgen)

$(obj)/bindings_generated.rs: private klp-flags = $(bindings-flags)
$(obj)/bindings_generated.rs: $(src)/bindings.h $(wildcard $(src)/*.h) FORCE
	$(call if_changed,klp_bindgen)

klp-own-bindings := $(if $(wildcard $(src)/bindings.h),bindings_generated.rs)

# A function is compiled where it is used, generic or not, as a static inline function of a C header is: a module carries
# nothing of the crate that it does not call, nor a second copy of a callback that is inlined into its trampoline. Of the
# crate itself nothing but this description of it is left. It has no statics; modpost would miss one.
klp-on-demand := -Zcross-crate-inline-threshold=always

klp-crate := $(or $(KLP_PREBUILT),$(obj))/libklp.rmeta

quiet_cmd_klp_crate = RUSTC $(quiet_modtag) $@
      cmd_klp_crate = $(rust_common_cmd) --crate-name klp $(klp-cfg) $(klp-on-demand) -Zalways-encode-mir --emit=metadata=$@ $<

$(obj)/libklp.rmeta: private part-of-module := y
$(obj)/libklp.rmeta: $(KLP)/src/lib.rs $(obj)/klp_bindings.rs FORCE
	+$(call if_changed_dep,klp_crate)

define klp-module
RUSTFLAGS_$(1)_main.o := --crate-name $(1) --extern klp=$(klp-crate) $(klp-on-demand) $(klp-fentry)
$(obj)/$(1)_main.o: $(src)/$(1).rs $(klp-crate) $(addprefix $(obj)/,$(klp-own-bindings)) FORCE
	+$$(call if_changed_rule,rustc_o_rs)
$(if $(klp-mcount),$(obj)/$(1)_main.o: private cmd_objtool = ; $$(objtool) $$(if $$(delay-objtool),,$$(objtool-args)) --mcount $$@)
endef
$(foreach m,$(klp-m),$(eval $(call klp-module,$(m))))

targets += klp_bindings.rs libklp.rmeta $(klp-own-bindings)
clean-files += klp_bindings.rs libklp.rmeta $(klp-own-bindings)
