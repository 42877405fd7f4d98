#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# klp::Redirect where the sample is not: test-asm-trampoline.sh as it runs on arm64.
#
# xtask: modules=selftests clock=real cpus=2 when=named

. "$(dirname "$0")/test-asm-trampoline.sh"
