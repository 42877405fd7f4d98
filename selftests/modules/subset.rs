// SPDX-License-Identifier: GPL-2.0

// What the modules rules_subset_N have in common: three objects, each with some of the four callbacks. The five modules
// together have every subset but the full one, which rules_all has; the one of module N and object I has the number 3N + I,
// bit 0 for pre_patch, bit 1 for post_patch, bit 2 for pre_unpatch, bit 3 for post_unpatch.

use kernel::prelude::*;

macro_rules! subsets {
    ($name:literal: [$($kernel:ident)*], [$($target:ident)*], [$($other:ident)*]) => {
        klp::livepatch! {
            type: Subsets,
            name: $name,
            authors: ["The livepatch cookbook"],
            description: "Livepatch test: callbacks left out",
            license: "GPL",
            objects: [
                vmlinux { callbacks: Kernel, },
                "rules_target" { callbacks: Target, },
                "rules_other" { callbacks: Other, },
            ],
        }

        struct Subsets;

        impl klp::Livepatch for Subsets {
            fn init(_module: &'static ThisModule) -> Result<Self> {
                Ok(Self)
            }
        }

        subsets!(@type Kernel [] $($kernel)*);
        subsets!(@type Target [] $($target)*);
        subsets!(@type Other [] $($other)*);
    };

    (@type $type:ident [$($done:tt)*]) => {
        struct $type;

        #[vtable]
        impl klp::Callbacks for $type {
            $($done)*
        }
    };
    (@type $type:ident [$($done:tt)*] pre_patch $($rest:ident)*) => {
        subsets!(@type $type [
            $($done)*
            fn pre_patch(obj: &klp::Object) -> Result {
                pr_info!("pre_patch: {}\n", obj);
                Ok(())
            }
        ] $($rest)*);
    };
    (@type $type:ident [$($done:tt)*] $callback:ident $($rest:ident)*) => {
        subsets!(@type $type [
            $($done)*
            fn $callback(obj: &klp::Object) {
                pr_info!("{}: {}\n", stringify!($callback), obj);
            }
        ] $($rest)*);
    };
}
