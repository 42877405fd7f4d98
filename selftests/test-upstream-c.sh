#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own livepatch selftests, unmodified, on its own modules in C (upstream.sh).
#
# xtask: modules=upstream when=named

. "$(dirname "$0")/upstream.sh" c
