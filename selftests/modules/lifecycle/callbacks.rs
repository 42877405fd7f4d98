// SPDX-License-Identifier: GPL-2.0

//! What the callbacks of both livepatches do: they log, and fail where they are told to.

use kernel::prelude::*;
use klp::Object;

klp::param! {
    static FAIL("fail"): enum Fail {
        None = "none",
        Vmlinux = "vmlinux",
        Alpha = "lifecycle_alpha",
        Beta = "lifecycle_beta",
    } = Fail::None, 0o644, "the object whose pre_patch fails"
}

/// Tells when the module's own init and exit run.
pub(crate) struct Module;

impl klp::Livepatch for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("init\n");
        Ok(Self)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        pr_info!("exit\n");
    }
}

/// The state of one object; its `Drop` tells that it is freed, and undoes nothing.
pub(crate) struct State(pub(crate) &'static str);

impl Drop for State {
    fn drop(&mut self) {
        pr_info!("freed: {}\n", self.0);
    }
}

/// The pre-patch callback of `object`.
pub(crate) fn pre_patch(object: &'static str) -> Result<State> {
    let told = match FAIL.get() {
        Fail::None => "",
        Fail::Vmlinux => "vmlinux",
        Fail::Alpha => "lifecycle_alpha",
        Fail::Beta => "lifecycle_beta",
    };
    if told == object {
        pr_info!("pre_patch: {object}: fails\n");
        return Err(ENODEV);
    }
    pr_info!("pre_patch: {object}\n");
    Ok(State(object))
}

/// Any other callback.
pub(crate) fn log(callback: &str, obj: &Object) {
    pr_info!("{callback}: {obj}\n");
}

/// Callbacks with a state, for an object of its own.
macro_rules! stateful {
    ($type:ident, $object:literal) => {
        struct $type;

        #[vtable]
        impl klp::StatefulCallbacks for $type {
            type State = callbacks::State;

            fn pre_patch(_obj: &klp::Object) -> impl PinInit<callbacks::State, Error> {
                callbacks::pre_patch($object)
            }

            fn post_patch(obj: &klp::Object, _state: Pin<&callbacks::State>) {
                callbacks::log("post_patch", obj);
            }

            fn pre_unpatch(obj: &klp::Object, _state: Pin<&callbacks::State>) {
                callbacks::log("pre_unpatch", obj);
            }

            fn post_unpatch(obj: &klp::Object, _state: Pin<KBox<callbacks::State>>) {
                callbacks::log("post_unpatch", obj);
            }
        }
    };
}
pub(crate) use stateful;
