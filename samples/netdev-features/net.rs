// SPDX-License-Identifier: GPL-2.0

//! Network devices, their features, and a watch that takes one feature from all devices of a driver.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    fmt,
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

use klp::Choice;

use crate::bindings;

/// A network device.
///
/// # Invariants
///
/// The device stays while the reference lives. RTNL is held and so is, where the driver uses it, the device's own lock.
#[repr(transparent)]
pub(crate) struct NetDevice(Opaque<bindings::net_device>);

impl NetDevice {
    /// # Safety
    ///
    /// The device must stay and the locks of the type invariant must be held for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: By the duty of this function.
        // SAFETY: As above; `Self` is a transparent wrapper.
        unsafe { &*dev.cast() }
    }

    /// Whether the device is unregistered now, as opposed to a watch that ends.
    pub(crate) fn is_dying(&self) -> bool {
        // SAFETY: By the type invariant the device is there, and RTNL guards the field.
        let state = unsafe { (*self.0.get()).reg_state };
        u32::from(state) != bindings::netdev_reg_state_NETREG_REGISTERED
    }

    // ANCHOR: is_of
    /// Whether the module `name` drives the device, with operations of its own.
    ///
    /// The parent's driver alone does not tell: a device of `net_failover` has the parent of the one that it stands for.
    pub(crate) fn is_of(&self, name: &CStr) -> bool {
        // SAFETY: By the type invariant the device is there.
        let (parent, ops) = unsafe { ((*self.0.get()).dev.parent, (*self.0.get()).netdev_ops) };
        // SAFETY: A driver unregisters its network devices, under RTNL, before it lets go of their parent. So as long as
        // this device is there, the parent keeps its driver and the driver its module.
        let owner = unsafe {
            parent
                .as_ref()
                .and_then(|parent| parent.driver.as_ref())
                .and_then(|driver| driver.owner.as_ref())
        };
        owner.is_some_and(|owner| {
            // SAFETY: The name is a C string, and the module is there as long as its device.
            unsafe {
                CStr::from_char_ptr(owner.name.as_ptr()) == name
                    && bindings::within_module(ops as c_ulong, owner)
            }
        })
    }
    // ANCHOR_END: is_of

    /// How the device stands to `feature`.
    pub(crate) fn setting(&self, feature: Feature) -> Setting {
        let dev = self.0.get();
        let has = |bits: u64| bits & feature.mask() != 0;
        // SAFETY: By the type invariant the device is there, and the locks that guard the fields are held.
        unsafe {
            Setting {
                active: has((*dev).features),
                changeable: has((*dev).hw_features),
                wanted: has((*dev).wanted_features),
            }
        }
    }

    // ANCHOR: take
    /// Takes `feature` away, so that it is off and no user can turn it on. Returns what [`NetDevice::give`] wants.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the feature is on and fixed: the driver was not written to have it switched, and may answer the
    /// attempt with a `BUG_ON()`. `EBUSY` when the driver does not do without it now. Everything is as before then.
    fn take(&self, feature: Feature) -> Result<Setting> {
        let before = self.setting(feature);
        if before.is_on_fixed() {
            return Err(fixed());
        }
        self.apply(feature, Setting::OFF_FIXED);
        if self.setting(feature).active {
            self.apply(feature, before);
            return Err(EBUSY);
        }
        Ok(before)
    }

    /// Gives `feature` back as it was `before`, and returns how it is: the driver may refuse.
    fn give(&self, feature: Feature, before: Setting) -> Setting {
        self.apply(feature, before);
        self.setting(feature)
    }
    // ANCHOR_END: take

    // ANCHOR: apply
    /// Has the kernel compute `features` anew, for which it calls the driver where something differs.
    ///
    /// `netdev_update_features()` lets be what is not in `hw_features`, so the feature is changeable while it runs. To clear
    /// the bit in `features` first would be quicker, but then nothing differs and the driver is not called.
    fn apply(&self, feature: Feature, setting: Setting) {
        let dev = self.0.get();
        let put = |field: &mut u64, on: bool| {
            *field &= !feature.mask();
            *field |= if on { feature.mask() } else { 0 };
        };
        // SAFETY: By the type invariant the device is there, and the locks that guard the fields and that the update
        // function asks for are held.
        unsafe {
            put(&mut (*dev).hw_features, true);
            put(&mut (*dev).wanted_features, setting.requested());
            bindings::netdev_update_features(dev);
            put(&mut (*dev).hw_features, setting.changeable);
            put(&mut (*dev).wanted_features, setting.wanted);
        }
    }
    // ANCHOR_END: apply
}

impl fmt::Display for NetDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: The name is a C string; only who holds RTNL changes it.
        let name = unsafe { CStr::from_char_ptr((&raw const (*self.0.get()).name).cast()) };
        fmt::Display::fmt(name, f)
    }
}

/// The error of a feature that is on and fixed.
fn fixed() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// How a device stands to one feature: its bit in `features`, `hw_features` and `wanted_features`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    active: bool,
    changeable: bool,
    wanted: bool,
}

impl Setting {
    /// Off, and no user can turn it on.
    pub(crate) const OFF_FIXED: Self = Self {
        active: false,
        changeable: false,
        wanted: false,
    };

    /// On, and no user can turn it off.
    fn is_on_fixed(self) -> bool {
        self.active && !self.changeable
    }

    /// What was asked for; whether it is `active` may depend on other features.
    fn requested(self) -> bool {
        if self.changeable {
            self.wanted
        } else {
            self.active
        }
    }
}

/// In the words of `ethtool -k`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.active, self.changeable, self.wanted) {
            (true, false, _) => "on [fixed]",
            (false, false, _) => "off [fixed]",
            (true, true, true) => "on",
            (true, true, false) => "on [requested off]",
            (false, true, true) => "off [requested on]",
            (false, true, false) => "off",
        })
    }
}

/// A feature that `virtio_net` offers or that the stack offers for it: its bit number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Feature(u32);

impl Feature {
    /// The stack merges received packets.
    pub(crate) const GRO: Self = Self(bindings::NETIF_F_GRO_BIT);

    fn mask(self) -> u64 {
        1 << self.0
    }
}

// SAFETY: The type is as large as a `u32`, and the functions of `Choice` store and load this very type.
unsafe impl klp::ParamValue for Feature {
    const OPS: *const kernel::bindings::kernel_param_ops = &<Self as Choice>::CHOICE_OPS;
}

impl Choice for Feature {
    /// The names of `ethtool -K`; the kernel's own table of them is not exported.
    const WORDS: &'static [(&'static CStr, Self)] = &[
        (c"highdma", Self(bindings::NETIF_F_HIGHDMA_BIT)),
        (c"rx-checksum", Self(bindings::NETIF_F_RXCSUM_BIT)),
        (c"rx-gro", Self::GRO),
        (c"rx-gro-hw", Self(bindings::NETIF_F_GRO_HW_BIT)),
        (c"rx-hashing", Self(bindings::NETIF_F_RXHASH_BIT)),
        (
            c"rx-vlan-filter",
            Self(bindings::NETIF_F_HW_VLAN_CTAG_FILTER_BIT),
        ),
        (
            c"tx-checksum-ip-generic",
            Self(bindings::NETIF_F_HW_CSUM_BIT),
        ),
        (c"tx-generic-segmentation", Self(bindings::NETIF_F_GSO_BIT)),
        (c"tx-gso-robust", Self(bindings::NETIF_F_GSO_ROBUST_BIT)),
        (c"tx-scatter-gather", Self(bindings::NETIF_F_SG_BIT)),
        (
            c"tx-scatter-gather-fraglist",
            Self(bindings::NETIF_F_FRAGLIST_BIT),
        ),
        (
            c"tx-tcp-ecn-segmentation",
            Self(bindings::NETIF_F_TSO_ECN_BIT),
        ),
        (c"tx-tcp-segmentation", Self(bindings::NETIF_F_TSO_BIT)),
        (c"tx-tcp6-segmentation", Self(bindings::NETIF_F_TSO6_BIT)),
        (
            c"tx-udp-segmentation",
            Self(bindings::NETIF_F_GSO_UDP_L4_BIT),
        ),
    ];
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::WORDS.iter().find(|(_, feature)| feature == self) {
            Some((name, _)) => fmt::Display::fmt(*name, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

// ANCHOR: watch
/// Takes a feature from all devices of a driver, in all namespaces, while it is forbidden.
///
/// # Invariants
///
/// A device in `devices` has been registered and not yet unregistered; RTNL is held where this changes.
#[pin_data]
struct Watch {
    driver: &'static CStr,
    feature: Feature,
    /// What a callback writes, and all that it does.
    forbidden: Atomic<bool>,
    /// Whether the devices that were there from the beginning have joined.
    begun: Atomic<bool>,
    /// Innermost, and not held while the network stack is called: that may call the notifier again.
    #[pin]
    devices: Mutex<KVec<(Device, Option<Setting>)>>,
    #[pin]
    work: Work<Self>,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}
// ANCHOR_END: watch

/// A device in the list of a [`Watch`], with what it lost beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Device(*mut bindings::net_device);

// SAFETY: Only who holds RTNL follows the pointer.
unsafe impl Send for Device {}

// SAFETY: Only the kernel accesses the block, under RTNL; the rest may be sent.
unsafe impl Send for Watch {}

// SAFETY: Only the kernel accesses the block, under RTNL; the rest may be shared.
unsafe impl Sync for Watch {}

impl_has_work! {
    impl HasWork<Self> for Watch { self.work }
}

// ANCHOR: work
impl WorkItem for Watch {
    type Pointer = Arc<Self>;

    /// Brings each device to where the callbacks want it. Holds no lock but RTNL, and that not for long.
    fn run(this: Arc<Self>) {
        let _rtnl = Rtnl::lock();
        for i in 0.. {
            let device = this.devices.lock().get(i).map(|(device, _)| *device);
            let Some(device) = device else { break };
            // SAFETY: RTNL is held, so by the type invariant the device is there.
            unsafe { device.locked(|dev| this.settle(dev)) };
        }
    }
}
// ANCHOR_END: work

impl Watch {
    // ANCHOR: settle
    /// Takes the feature from `dev`, or gives it back.
    fn settle(&self, dev: &NetDevice) {
        let feature = self.feature;
        match (self.forbidden.load(Relaxed), self.taken(dev)) {
            (true, Some(None)) if dev.setting(feature) != Setting::OFF_FIXED => {
                match dev.take(feature) {
                    Ok(before) => {
                        self.note(dev, Some(before));
                        pr_info!("{dev}: {feature} taken, was {before}\n");
                    }
                    Err(e) => pr_warn!("{dev}: {feature} cannot be taken now: {e:?}\n"),
                }
            }
            (false, Some(Some(before))) => {
                self.note(dev, None);
                let now = dev.give(feature, before);
                if now == before {
                    pr_info!("{dev}: {feature} given back, is {now}\n");
                } else {
                    pr_warn!("{dev}: {feature} given back, but is {now}, and was {before}\n");
                }
            }
            _ => (),
        }
    }
    // ANCHOR_END: settle

    /// Whether `dev` is in the list, and what it lost.
    fn taken(&self, dev: &NetDevice) -> Option<Option<Setting>> {
        let devices = self.devices.lock();
        let entry = devices.iter().find(|(device, _)| device.0 == dev.0.get())?;
        Some(entry.1)
    }

    fn note(&self, dev: &NetDevice, taken: Option<Setting>) {
        for entry in self.devices.lock().iter_mut() {
            if entry.0 .0 == dev.0.get() {
                entry.1 = taken;
            }
        }
    }

    // ANCHOR: joins
    /// The device was there when the watch began, or it appears; or it is moved to another namespace, without having left.
    ///
    /// # Errors
    ///
    /// When the watch begins, `EOPNOTSUPP` for a feature that the driver has fixed: nobody has changed anything yet. A
    /// device that appears fails only without memory to know it by; one that escaped would be worse.
    fn joins(self: ArcBorrow<'_, Self>, dev: &NetDevice) -> Result {
        if self.taken(dev).is_some() || !dev.is_of(self.driver) {
            return Ok(());
        }
        if dev.setting(self.feature).is_on_fixed() {
            pr_warn!(
                "{dev}: {} is on, and the driver has fixed it\n",
                self.feature
            );
            return if self.begun.load(Relaxed) {
                Ok(())
            } else {
                Err(fixed())
            };
        }
        self.devices
            .lock()
            .push((Device(dev.0.get()), None), GFP_KERNEL)?;
        // Not here and now: the probe is not over, and its device not ready for commands. The work waits for RTNL, which
        // the probe holds until it is.
        Self::enqueue(self.into());
        Ok(())
    }

    /// The device is dying, or the watch ends. Who was forbidden the feature then is what a successor relies on.
    fn leaves(&self, dev: &NetDevice) {
        if !dev.is_dying() {
            self.settle_back(dev);
        } else if matches!(self.taken(dev), Some(Some(_))) {
            pr_info!("{dev}: forgotten\n");
        }
        self.devices
            .lock()
            .retain(|(device, _)| device.0 != dev.0.get());
    }
    // ANCHOR_END: joins

    /// Where the work did not come to it.
    fn settle_back(&self, dev: &NetDevice) {
        if !self.forbidden.load(Relaxed) {
            self.settle(dev);
        }
    }

    fn enqueue(this: Arc<Self>) {
        // Refused while the work is still queued; then that run serves for both.
        let _ = workqueue::system_long().enqueue::<Arc<Self>, 0>(this);
    }

    /// Hears of every network device.
    ///
    /// # Safety
    ///
    /// To be called by the chain of the netdevice notifiers, which holds RTNL.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        // SAFETY: The block that the chain calls is part of a `Watch` in an `Arc`, which outlives the registration.
        let watch = unsafe {
            let watch = kernel::container_of!(Opaque::cast_from(block), Self, block);
            ArcBorrow::from_raw(watch)
        };
        // SAFETY: The chain passes a `netdev_notifier_info` with a device that stays meanwhile.
        let device = Device(unsafe { (*info.cast::<bindings::netdev_notifier_info>()).dev });
        // ANCHOR: events
        let result = match event as u32 {
            bindings::netdev_cmd_NETDEV_REGISTER => {
                // SAFETY: The chain holds the device's own lock in this event.
                watch.joins(unsafe { NetDevice::from_raw(device.0) })
            }
            // Before a device that appeared is up for the first time, in case that the work was not so quick.
            bindings::netdev_cmd_NETDEV_PRE_UP => {
                // SAFETY: As above.
                watch.settle(unsafe { NetDevice::from_raw(device.0) });
                Ok(())
            }
            // SAFETY: The device is there, and RTNL keeps the field.
            bindings::netdev_cmd_NETDEV_UNREGISTER if unsafe { !(*device.0).moving_ns } => {
                // SAFETY: The device is there, and the chain does not hold its own lock in this event.
                unsafe { device.locked(|dev| watch.leaves(dev)) };
                Ok(())
            }
            _ => Ok(()),
        };
        // ANCHOR_END: events
        let errno = result.map_or_else(|e| e.to_errno(), |()| 0);
        // SAFETY: The function computes.
        unsafe { bindings::notifier_from_errno(errno) }
    }
}

impl Device {
    /// Calls `f` with the device and its own lock held, where its driver uses one.
    ///
    /// # Safety
    ///
    /// RTNL must be held, and the device be there. The device's own lock must not be held.
    unsafe fn locked(self, f: impl FnOnce(&NetDevice)) {
        // SAFETY: By the duty of this function.
        unsafe {
            bindings::netdev_lock_ops(self.0);
            f(NetDevice::from_raw(self.0));
            bindings::netdev_unlock_ops(self.0);
        }
    }
}

// ANCHOR: watching
/// A watch that has begun. It ends with this value.
pub(crate) struct Watching(Arc<Watch>);

impl Watching {
    /// Begins the watch. The kernel itself walks over the devices that are there, of all namespaces, so that none is
    /// missed or told twice between a walk of ours and the first event.
    ///
    /// Process context; waits for `pernet_ops_rwsem` and RTNL, so **never from a callback**: modules are loaded under RTNL,
    /// and a module that loads waits for `klp_mutex`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when one of the devices has the feature on and fixed.
    pub(crate) fn begin(driver: &'static CStr, feature: Feature) -> Result<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(Watch::call),
            ..Default::default()
        };
        let watch = Arc::pin_init(
            pin_init!(Watch {
                driver,
                feature,
                forbidden: Atomic::new(false),
                begun: Atomic::new(false),
                devices <- new_mutex!(KVec::new()),
                work <- new_work!("netdev_features::Watch"),
                block: Opaque::new(block),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is complete and pinned, and stays until `drop` has unregistered it.
        to_result(unsafe { bindings::register_netdevice_notifier(watch.block.get()) })?;
        watch.begun.store(true, Relaxed);
        Ok(Self(watch))
    }

    /// Takes the feature from all devices, those to come included, or gives it back. Soon, by a work item. Any context.
    pub(crate) fn forbid(&self, forbidden: bool) {
        // The work sees it: to queue it orders this store before its run, also where it was queued already.
        self.0.forbidden.store(forbidden, Relaxed);
        Watch::enqueue(self.0.clone());
    }
}

impl Drop for Watching {
    /// Waits as [`Watching::begin`] does, and for the work.
    fn drop(&mut self) {
        // SAFETY: `begin` registered the block. The kernel tells of each device that it leaves.
        unsafe { bindings::unregister_netdevice_notifier(self.0.block.get()) };
        // SAFETY: The watch is alive, and nobody is left to queue its work. To cancel it would leak the reference that it owns.
        unsafe { bindings::flush_work(Work::raw_get(&raw const self.0.work)) };
    }
}
// ANCHOR_END: watching

/// RTNL, held.
struct Rtnl(NotThreadSafe);

impl Rtnl {
    fn lock() -> Self {
        // SAFETY: Process context; the work holds no other lock.
        unsafe { bindings::rtnl_lock() };
        Self(NotThreadSafe)
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        // SAFETY: `lock` took it.
        unsafe { bindings::rtnl_unlock() };
    }
}
