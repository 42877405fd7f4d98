#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# klp::Redirect without the sample, which is x86's: what of test-asm-trampoline.sh runs on arm64, too.
#
# xtask: modules=selftests clock=real cpus=2 when=named

. "$(dirname "$0")/test-asm-trampoline.sh"
