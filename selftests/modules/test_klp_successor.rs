// SPDX-License-Identifier: GPL-2.0

//! A cumulative livepatch that knows the states of all samples, and nothing else of them.

klp::livepatch! {
    name: "test_klp_successor",
    authors: ["The livepatch cookbook"],
    description: "Livepatch test: takes the place of any sample",
    license: "GPL",
    replace: true,
    states: [
        static CHALLENGE_ACK_LIMITS: () = { id: 0x6163_6b6c, version: 1 },
        static ASSOCIATION: () = { id: 0x6173_6f63, version: 1 },
        static FEATURE: () = { id: 0x6665_6174, version: 1 },
        static MAX_SKB_FRAGS: () = { id: 0x6672_6167, version: 1 },
        static RAW_OPENER: () = { id: 0x7261_776f, version: 1 },
        static BUFFER_LIMITS: () = { id: 0x736f_636b, version: 2 },
    ],
    objects: [
        vmlinux {},
    ],
}
