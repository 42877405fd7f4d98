// SPDX-License-Identifier: GPL-2.0

//! The life of a change that outlives the patch, driven by the callbacks of `vmlinux`.

use core::marker::PhantomData;

use kernel::prelude::*;

use crate::{
    callbacks::Ops,
    Callbacks,
    FixedLayout,
    Object,
    PreviousState,
    StateData,
    SystemState, //
};

/// A lasting change of the system, which a patch makes, hands to its successor, and in the end reverts.
///
/// Implemented by the data of a state of [`livepatch!`](crate::livepatch!), which `vmlinux` lists as its `change`. What is
/// written here is what the change is; when it happens is as the table of [`SystemState`] says:
///
/// | callback       | does |
/// |----------------|------|
/// | `pre_patch`    | [`save`](SystemChange::save), or refuses the patch |
/// | `post_patch`   | [`take_over`](SystemChange::take_over); then [`apply`](SystemChange::apply) |
/// | `pre_unpatch`  | [`revert`](SystemChange::revert) |
/// | `post_unpatch` | drops the data, then [`done`](SystemChange::done) |
///
/// The functions run in process context with `klp_mutex` held, and may sleep. Replacement functions see the data through
/// [`SystemState::read`].
///
/// # Examples
///
/// ```
/// use klp::SystemChange;
/// use core::ops::RangeInclusive;
/// use kernel::sync::atomic::{Atomic, Relaxed};
///
/// static LIMIT: Atomic<i32> = Atomic::new(100);
///
/// klp::fixed_layout! {
///     #[derive(Default)]
///     struct Limit {
///         saved: klp::Saved<i32>,
///     }
/// }
///
/// // SAFETY: No patch keeps anything else in version 1 of this state.
/// unsafe impl klp::StateData for Limit {
///     const ID: usize = 0x6c69_6d00;
///     const VERSIONS: RangeInclusive<u32> = 1..=1;
/// }
///
/// impl SystemChange for Limit {
///     fn save(_before: Option<u32>) -> impl PinInit<Self, Error> {
///         Ok(Limit::default())
///     }
///
///     fn apply(&self) {
///         self.saved.change(&LIMIT, 100, 1000);
///     }
///
///     fn revert(&self) {
///         self.saved.give_back(&LIMIT);
///     }
/// }
///
/// let limit = Limit::default();
/// limit.apply();
/// assert_eq!(LIMIT.load(Relaxed), 1000);
/// limit.revert();
/// assert_eq!(LIMIT.load(Relaxed), 100);
/// ```
pub trait SystemChange: StateData {
    /// Makes the data, and changes nothing: the transition may still be reversed. `before` is the version of the patch that has
    /// made the change already and is being replaced.
    ///
    /// # Errors
    ///
    /// As [`StatefulCallbacks::pre_patch`](crate::StatefulCallbacks::pre_patch).
    fn save(before: Option<u32>) -> impl PinInit<Self, Error>;

    /// Takes over what the patch before has changed, whose callbacks never run again. If that patch keeps the same data,
    /// `self` is its data already; else [`take`](PreviousState::take) it in the layout of each version that there was.
    fn take_over(&self, _before: &PreviousState<'_>) {}

    /// Makes the change, of which a part may have been made by the patch before. Every task runs the patched functions.
    ///
    /// Runs again when an unpatching transition is reversed.
    fn apply(&self);

    /// Reverts the change. Every task still runs the patched functions.
    fn revert(&self);

    /// Runs in the end, when nobody runs the patched functions any more. `before` is the version of the patch that stays in force
    /// because the transition was reversed.
    fn done(_before: Option<u32>) {}
}

/// A state of the patch; [`livepatch!`](crate::livepatch!) implements it for a type by the state's name.
pub trait State: 'static {
    /// The type of its data.
    type Data: FixedLayout + Send + Sync + 'static;

    /// Id and version.
    const VERSION: (usize, u32);

    /// The state.
    fn state() -> &'static SystemState<Self::Data>;
}

/// What the callbacks of a state do whose data is a [`SystemChange`]. [`livepatch!`](crate::livepatch!) makes the callbacks, in the
/// module: `#[vtable]` of Linux 7.3 wants one.
pub struct Handover<S: State>(PhantomData<S>);

impl<S: State> Handover<S> {
    /// The table of the callbacks `C`.
    // The bound is here and not at the impl, so that the compiler names the trait that the data lacks.
    pub const fn ops<C: Callbacks>() -> Ops
    where
        S::Data: SystemChange,
    {
        let (id, version) = S::VERSION;
        let versions = <S::Data as StateData>::VERSIONS;
        assert!(
            id == <S::Data as StateData>::ID
                && version >= *versions.start()
                && version <= *versions.end(),
            "the state has another id, or another version, than its data is meant for"
        );
        Ops::callbacks::<C>()
    }
}

impl<S: State<Data: SystemChange>> Handover<S> {
    /// The data, without a guard, so that the functions of the change may sleep. For the callbacks.
    fn data<'a>(_obj: &'a Object) -> Option<&'a S::Data> {
        // SAFETY: Only a callback can fill or take the data, because it takes an `Object`. This is one, so no other one runs;
        // and the functions that it calls while the reference lives are given no object.
        let data = unsafe { S::state().slot()?.get() };
        data.map(Pin::get_ref)
    }

    /// The version of the patch before.
    fn before(obj: &Object) -> Option<u32> {
        S::state().previous(obj).map(|before| before.version())
    }

    /// Makes the data.
    pub fn pre_patch(obj: &Object) -> Result {
        let room = KBox::new_uninit(GFP_KERNEL)?;
        let data = room.write_pin_init(S::Data::save(Self::before(obj)))?;
        S::state().fill(obj, data);
        Ok(())
    }

    /// Every task runs this patch, and the callbacks of the patch before never will: its change is ours from here on.
    pub fn post_patch(obj: &Object) {
        let before = S::state().previous(obj);
        if let Some(data) = before.as_ref().and_then(PreviousState::take) {
            S::state().fill(obj, data);
        }
        if let Some(data) = Self::data(obj) {
            if let Some(before) = &before {
                data.take_over(before);
            }
            data.apply();
        }
    }

    /// Reverts the change.
    pub fn pre_unpatch(obj: &Object) {
        if let Some(data) = Self::data(obj) {
            data.revert();
        }
    }

    /// Drops the data.
    pub fn post_unpatch(obj: &Object) {
        let before = Self::before(obj);
        S::state().take(obj);
        S::Data::done(before);
    }
}
