// SPDX-License-Identifier: GPL-2.0

//! Network devices and their features, as the patch sees them.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use kernel::{
    ffi::c_ulong,
    fmt,
    prelude::*,
    str::CStr,
    types::Opaque, //
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

    /// What tells the device from all others until it has left.
    ///
    /// This is the address, which is never followed. It is not used again before the watcher was told that the device
    /// leaves, as both take RTNL. `ifindex` would do worse: it changes with the namespace and is used again too.
    pub(crate) fn id(&self) -> DeviceId {
        DeviceId(self.0.get() as usize)
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
                    && bindings::rust_helper_within_module(ops as c_ulong, owner)
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

    /// Takes `feature` away, so that it is off and no user can turn it on. Returns what [`NetDevice::give`] wants.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the driver does not do without the feature now; everything is as before then.
    pub(crate) fn take(&self, feature: Feature) -> Result<Setting> {
        let before = self.setting(feature);
        self.apply(feature, Setting::OFF_FIXED);
        if self.setting(feature).active {
            self.apply(feature, before);
            return Err(EBUSY);
        }
        Ok(before)
    }

    /// Gives `feature` back as it was `before`.
    pub(crate) fn give(&self, feature: Feature, before: Setting) {
        self.apply(feature, before);
    }

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

/// See [`NetDevice::id`].
#[derive(PartialEq, Eq)]
pub(crate) struct DeviceId(usize);

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
