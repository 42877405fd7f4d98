#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own livepatch selftests, unmodified, on ours of the same names in Rust (upstream.sh).
#
# xtask: modules=selftests,upstream

. "$(dirname "$0")/upstream.sh" rust
