// SPDX-License-Identifier: GPL-2.0

//! The two macros that a module is written with.

/// Declares a livepatch module.
///
/// Forwards the metadata to [`module!`](kernel::prelude::module), marks the module as a livepatch, builds the tables that
/// [`klp_enable_patch()`] wants, and makes the module's init call [`Livepatch::init`] and then enable the patch.
///
/// - `type` (optional): the module's own type, which implements [`Livepatch`].
/// - `name`: that of the module.
/// - `files` (optional): a folder below `/sys/kernel` and the types that implement [`Attribute`](crate::Attribute), one
///   a file; they are there while the module is.
/// - `replace` (optional): `true` makes the patch cumulative; it replaces every patch that is enabled. The expression is
///   evaluated when the module is loaded, so that a parameter can decide.
/// - `states` (optional): the lasting changes of the system that the patch makes, each with an id that the whole family of
///   patches agrees on, a version, and the type of the data to revert it: see [`SystemState`](crate::SystemState).
/// - `objects`: what to patch. An object is `vmlinux` or a module's name as a string. Module names have underscores where
///   their files may have dashes.
/// - `callbacks` (optional) names a type that implements [`Callbacks`], `stateful` one that implements
///   [`StatefulCallbacks`]; without any of them the object has none.
/// - `change` (optional, for `vmlinux` only) names a state of `states` whose data implements [`SystemChange`], which
///   makes the callbacks.
/// - `functions` (optional): declares each old function as the kernel's source does, with its replacement behind `=`.
///   `@ N` after the name chooses the N-th symbol of that name. A name that is no Rust identifier is written as a string.
/// - The entry of a system call is written as `(syscall getpid)`: see [`syscall_name!`](crate::syscall_name!).
/// - `as NAME` before the `=` lets the replacement go on in the old function: see below.
/// - `redirects` (optional): the same for routines of the object that ftrace cannot reach: see [`Redirect`](crate::Redirect).
///
/// # Declarations
///
/// A function that a header declares is listed as `fn …`: the compiler compares the entry with what bindgen made of the
/// header, in the module `bindings`.
///
/// That module is made by [`bindings!`](crate::bindings!); name the function in `bindings-flags` for that.
///
/// The entries of system calls are compared with what all of them are declared as.
///
/// A function that no header declares, a static one say, is listed as `unsafe fn …`: nobody can compare, and the author vouches
/// for the declaration. Either way the compiler compares the replacement with the entry. What the replacement *does* is beyond
/// it; so is the context in which the kernel calls it.
///
/// # The original
///
/// With `fn dev_valid_name(*const c_char) -> bool as original = valid_name` the replacement may call `original`: the function as the
/// kernel has it, whoever else has replaced it. A fix that looks at an argument or at the answer, or refuses and else
/// goes on, needs no copy of the function. `original` is an `unsafe extern "C" fn` of the declared type, and is for the replacement
/// alone: where the object is not patched it leads nowhere. Call it by its name; it is not made for a function pointer (no `ENDBR`). Tracers of the function see the call of the replacement, not this one.
/// A task in the original holds up a transition as one in the replacement does, which is on its stack.
///
/// The patch gets a pre_patch of klp's own for it, before the author's. On x86-64 with static calls; a function that does not begin with the call of ftrace refuses the patch with `EINVAL`
/// (`arch/x86/kernel/static_call.c`). A function that takes any number of arguments cannot be called on with what it was called
/// with.
///
/// # What is seen of it
///
/// `modinfo` shows each entry as `patches: OBJECT:FUNCTION` or `redirects: OBJECT:FUNCTION`, with `?` behind what has a
/// condition.
///
/// Stack traces show a replacement as `livepatch.OBJECT.FUNCTION`. It may end in the call of another function of the module
/// and sleep there: the function that the kernel enters is one that calls it, and stays on the stack.
///
/// # Examples
///
/// ```ignore
/// klp::livepatch! {
///     name: "cmdline",
///     authors: ["An Author"],
///     description: "Replace the content of /proc/cmdline",
///     license: "GPL",
///     objects: [
///         vmlinux {
///             functions: [
///                 // SAFETY: The declaration is that of fs/proc/cmdline.c, where it is static.
///                 unsafe fn cmdline_proc_show(*mut seq_file, *mut c_void) -> c_int = show,
///             ],
///         },
///     ],
/// }
/// ```
///
/// A cumulative patch with a state:
///
/// ```ignore
///     replace: true,
///     states: [
///         /// The limit as the system had it.
///         static LIMIT: SavedLimit = { id: 0x6c69_6d00, version: 2 },
///     ],
///     objects: [ /* … */ ],
/// ```
///
/// [`klp_enable_patch()`]: srctree/include/linux/livepatch.h
/// [`Livepatch`]: crate::Livepatch
/// [`Livepatch::init`]: crate::Livepatch::init
/// [`Callbacks`]: crate::Callbacks
/// [`StatefulCallbacks`]: crate::StatefulCallbacks
/// [`SystemChange`]: crate::SystemChange
// `$unchecked` matches nothing: it is there for the expansion to repeat what only an entry with `unsafe` has.
#[macro_export]
macro_rules! livepatch {
    (
        $(type: $type:ty,)?
        name: $name:tt,
        $(authors: $authors:tt,)?
        $(description: $description:tt,)?
        license: $license:tt,
        $(imports_ns: $imports:tt,)?
        $(files: $folder:literal $files:tt,)?
        $(replace: $replace:expr,)?
        $(states: $states:tt,)?
        objects: [ $( $object:tt { $($body:tt)* } ),+ $(,)? ] $(,)?
    ) => {
        ::kernel::prelude::module! {
            type: __Livepatch,
            name: $name,
            $(authors: $authors,)?
            $(description: $description,)?
            license: $license,
            $(imports_ns: $imports,)?
        }

        $crate::modinfo!(__KLP_MODINFO, "livepatch=Y");

        const _: () = $crate::internal::check_name($name, ::core::module_path!());

        static __PATCH: $crate::internal::Patch<{ [$(stringify!($object)),+].len() }> = {
            let patch = [$( $crate::livepatch!(@object $object { $($body)* }) ),+];
            let patch = $crate::internal::Patch::new(patch);
            $( let patch = patch.with_states($crate::livepatch!(@table $states)); )?
            patch
        };
        $( $crate::livepatch!(@states $states); )?

        $( $crate::livepatch!(@slot { $($body)* }); )+
        $( $crate::originals!($object { $($body)* }); )+

        /// The module's value: what is there as long as the module is.
        struct __Livepatch {
            _files: $crate::livepatch!(@folder $($folder)?),
            _author: $crate::livepatch!(@author $($type)?),
        }

        impl ::kernel::Module for __Livepatch {
            fn init(module: &'static ::kernel::ThisModule) -> ::kernel::error::Result<Self> {
                let _author = $crate::Livepatch::init(module)?;
                let _files = $crate::livepatch!(@files $($folder $files)?);
                // SAFETY: The loader calls init once, and the patch is a static of this module.
                unsafe { __PATCH.enable(module, false $(|| $replace)?) }?;
                Ok(Self {
                    _files,
                    _author,
                })
            }
        }

        impl ::core::ops::Drop for __Livepatch {
            fn drop(&mut self) {
                // SAFETY: The module's value is dropped by its exit, which the core allows when no task can be in it.
                unsafe { __PATCH.release() };
            }
        }
    };

    (@author) => { () };
    (@author $type:ty) => { $type };

    (@folder) => { () };
    (@folder $folder:literal) => { $crate::Folder };
    (@files) => { () };
    (@files $folder:literal [ $($file:ty),+ $(,)? ]) => {
        // SAFETY: The folder goes into the module's value, which nobody else can reach and the module's exit drops.
        unsafe { $crate::Folder::new($crate::cstr(concat!($folder, "\0"))) }?
            $(.with::<$file>()?)+
    };

    (@object $object:tt {
        $(callbacks: $callbacks:ty,)?
        $(stateful: $stateful:ty,)?
        $(change: $change:ident,)?
        $(functions: [ $($functions:tt)* ] $(,)?)?
        $(redirects: [ $($redirects:tt)* ] $(,)?)?
    }) => {{
        #[allow(unused_mut, unused_assignments)]
        const OPS: $crate::internal::Ops = {
            let mut ops = $crate::internal::Ops::NONE;
            $(ops = $crate::internal::Ops::callbacks::<$callbacks>();)?
            $(ops = $crate::internal::Ops::stateful::<$stateful>();)?
            $(ops = $crate::livepatch!(@change $object $change);)?
            ops
        };
        const WITH_REDIRECTS: $crate::internal::Ops =
            $crate::livepatch!(@redirects $object OPS [ $($($redirects)*)? ]);
        const WITH_ORIGINALS: $crate::internal::Ops =
            $crate::originals!(@ops $object WITH_REDIRECTS [ $($($functions)*)? ]);
        $crate::internal::ObjectEntry::new(
            $crate::livepatch!(@module $object),
            $crate::livepatch!(@functions $object [ $($($functions)*)? ]),
        )
        .with_ops(WITH_ORIGINALS)
    }};
    (@object $object:tt { $($other:tt)* }) => {
        compile_error!(concat!(
            "livepatch!: object `", stringify!($object),
            "`: expected, in this order and with a comma after each: ",
            "`callbacks: TYPE` or `stateful: TYPE`, ",
            "or `change: STATE`; ",
            "`functions: [...]`",
            ", `redirects: [...]`"
        ))
    };

    (@change vmlinux $state:ident) => {{
        struct Change;

        #[::kernel::prelude::vtable]
        impl $crate::Callbacks for Change {
            fn pre_patch(obj: &$crate::Object) -> ::kernel::error::Result {
                $crate::internal::Handover::<$state>::pre_patch(obj)
            }

            fn post_patch(obj: &$crate::Object) {
                $crate::internal::Handover::<$state>::post_patch(obj);
            }

            fn pre_unpatch(obj: &$crate::Object) {
                $crate::internal::Handover::<$state>::pre_unpatch(obj);
            }

            fn post_unpatch(obj: &$crate::Object) {
                $crate::internal::Handover::<$state>::post_unpatch(obj);
            }
        }

        $crate::internal::Handover::<$state>::ops::<Change>()
    }};
    (@change $object:tt $state:ident) => {
        compile_error!(concat!(
            "livepatch!: `change` is for `vmlinux`: ",
            "the core tells of the patch before only while this one comes or goes"
        ))
    };

    (@functions $object:tt [
        $( $(#[$attr:meta])* $(unsafe $($unchecked:lifetime)?)? fn $old:tt $(@ $pos:literal)?
            ( $($arg:ty),* $(,)? ) $(-> $ret:ty)?
            $(as $original:ident)?
            = $new:expr ),* $(,)?
    ]) => {{
        $(
            $(#[$attr])*
            $crate::declared!([$(unsafe $($unchecked)?)?] [$old] ($($arg),*) $(-> $ret)?);
        )*
        const LEN: usize = <[()]>::len(&[$( $(#[$attr])* { let _ = stringify!($old); } ),*]) + 1;
        type Funcs = $crate::internal::Funcs<LEN>;
        static FUNCS: Funcs = Funcs::new([
            $(
                $(#[$attr])*
                // SAFETY: The declaration is the header's, or the author vouches for it.
                unsafe {
                    $crate::livepatch!(@tell "patches=" $object $old [] $($pos)?);
                    $crate::internal::Func::new(
                        $crate::livepatch!(@name $old),
                        0 $(+ $pos)?,
                        $crate::replacement!(
                            $object $old [$($pos)?] $new, ($($arg),*) $(-> $ret)?
                        )
                        .cast_mut(),
                    )
                },
            )*
            $crate::internal::Func::END,
        ]);
        &FUNCS
    }};
    (@functions $object:tt $other:tt) => {
        compile_error!(concat!(
            "livepatch!: `functions` of object `", stringify!($object),
            "`: each entry is `fn NAME(TYPES) -> TYPE = REPLACEMENT,`, ",
            "with `unsafe` before `fn` if no header declares it"
        ))
    };

    (@redirects $object:tt $ops:ident []) => { $ops };
    (@redirects $object:tt $ops:ident [
        $( $(#[$attr:meta])* $(unsafe $($unchecked:lifetime)?)? fn $old:tt ( $($arg:ty),* $(,)? ) $(-> $ret:ty)?
            = $($new:tt)::+ $(where $when:expr)? ),+ $(,)?
    ]) => {{
        $( $(#[$attr])* $crate::declared!([$(unsafe $($unchecked)?)?] [$old] ($($arg),*) $(-> $ret)?); )+
        $crate::redirects!($ops, [$( $(#[$attr])* { let _ = stringify!($old); } ),+], [$(
            $(#[$attr])*
            // SAFETY: The declaration is the header's, or the author vouches for it.
            unsafe {
                $crate::livepatch!(@tell "redirects=" $object $old [$($when)?]);
                $crate::internal::Redirect::new(
                    $crate::livepatch!(@name $old),
                    $crate::replacement!($object $old [] $($new)::+, ($($arg),*) $(-> $ret)?),
                    || true $(&& $when)?,
                )
            }
        ),+])
    }};
    (@redirects $object:tt $ops:ident $other:tt) => {
        compile_error!(concat!(
            "livepatch!: `redirects` of object `", stringify!($object),
            "`: each entry is `fn NAME(TYPES) -> TYPE = REPLACEMENT,` or `... = REPLACEMENT where CONDITION,`, ",
            "with `unsafe` before `fn` if no header declares it"
        ))
    };

    (@slot { stateful: $stateful:ty, $($rest:tt)* }) => {
        impl $crate::Slotted for $stateful {
            fn slot() -> &'static $crate::internal::SlotOf<Self> {
                static SLOT: $crate::internal::SlotOf<$stateful> =
                    $crate::internal::Slot::new();
                &SLOT
            }
        }
    };
    (@slot $other:tt) => {};

    (@states [ $(
        $(#[$meta:meta])*
        static $state:ident: $data:ty = { id: $id:expr, version: $version:expr $(,)? }
    ),+ $(,)? ]) => {
        #[allow(non_snake_case)]
        #[repr(C)]
        struct __States {
            $($state: $crate::SystemState<$data>,)+
            end: $crate::internal::StatesEnd,
        }

        // SAFETY: So it is declared, just above.
        unsafe impl $crate::internal::StateTable for __States {}

        static __STATES: __States = __States {
            $($state: $crate::SystemState::new($id, $version),)+
            end: $crate::internal::StatesEnd::END,
        };

        $(
            $(#[$meta])*
            static $state: &$crate::SystemState<$data> = &__STATES.$state;

            #[allow(dead_code, non_camel_case_types)]
            enum $state {}

            impl $crate::internal::State for $state {
                type Data = $data;
                const VERSION: (usize, u32) = ($id, $version);

                fn state() -> &'static $crate::SystemState<$data> {
                    &__STATES.$state
                }
            }
        )+
    };
    (@states $other:tt) => {
        compile_error!(concat!(
            "livepatch!: each entry of `states` is ",
            "`static NAME: TYPE = { id: NUMBER, version: NUMBER },`"
        ));
    };
    (@table $states:tt) => { &__STATES };

    (@module vmlinux) => { ::core::option::Option::None };
    (@module $module:literal) => {{
        const NAME: &::kernel::str::CStr =
            $crate::internal::module_name(concat!($module, "\0"));
        ::core::option::Option::Some(NAME)
    }};
    (@module $other:tt) => {
        compile_error!(concat!(
            "livepatch!: an object is `vmlinux`, or a module's name in quotes: \"",
            stringify!($other), "\""
        ))
    };

    // What `modinfo` tells of it.
    (@tell $key:literal $object:tt $old:tt [$($when:expr)?] $($pos:literal)?) => {
        $crate::modinfo!(TOLD, concat!(
            $key, $crate::livepatch!(@text $object), ":", $crate::livepatch!(@text $old) $(, "@", $pos)?
            $(, $crate::livepatch!(@if $when))?
        ));
    };
    (@if $when:expr) => { "?" };

    (@symbol $object:tt $old:tt [$($pos:literal)?]) => {
        concat!(
            "livepatch.", $crate::livepatch!(@text $object), ".", $crate::livepatch!(@text $old)
            $(, ".", $pos)?
        )
    };

    (@name $name:tt) => { $crate::cstr(concat!($crate::livepatch!(@text $name), "\0")) };

    (@text ($entry:ident $name:ident)) => { $crate::syscall_name!($entry $name) };
    (@text $name:literal) => { $name };
    (@text $name:ident) => { stringify!($name) };

    ($first:ident: $($other:tt)*) => {
        compile_error!(concat!(
            "livepatch!: expected, in this order and with a comma after each: ",
            "[type], name, [authors], [description], license, [imports_ns], ",
            "[files], ",
            "[replace], ",
            "[states], ",
            "objects: [ vmlinux { ... }, \"module\" { ... } ]"
        ));
    };
}

/// Compares the declaration of a function in `livepatch!` with the header's, unless the author vouches for it.
///
/// The compiler shall complain of the author's own words: of the function's name here, of the replacement in
/// [`replacement!`]. So these are expressions of their own, and the field of a [`Typed`](crate::internal::Typed) says their
/// type: an annotation would be one more place to complain of. The name passes as tokens, and first to this macro, because the
/// compiler knows a token's place only where it is repeated or used the first time.
#[doc(hidden)]
#[macro_export]
macro_rules! declared {
    (@is $old:expr, $type:ty) => { $crate::internal::Typed::<$type> { function: $old } };
    ([unsafe] $($declaration:tt)*) => {};
    ([] [$old:literal] $($declaration:tt)*) => {
        compile_error!(concat!(
            "livepatch!: no header declares `", stringify!($old),
            "`: begin the entry with `unsafe`"
        ));
    };
    ([] [($entry:ident $old:ident)] ($($arg:ty),*) $(-> $ret:ty)?) => {
        const _: () = {
            let _ = $crate::declared!(@is $crate::internal::syscall, unsafe extern "C" fn($($arg),*) $(-> $ret)?);
        };
    };
    ([] [$($old:tt)+] ($($arg:ty),*) $(-> $ret:ty)?) => {
        const _: () = {
            let _ = bindings::$($old)+;
            {
                // What the module itself has of that name is not meant.
                use bindings::*;
                let _ = $crate::declared!(
                    @is $($old)+, unsafe extern "C" fn($($arg),*) $(-> $ret)?
                );
            }
        };
    };
}

/// The function that the kernel is given instead of `$new`, as a pointer: one that calls it, and is not left by a jump.
///
/// Where a function ends in the call of another, compilers make a jump of it. Nothing of the replacement would be on
/// the stack of a task that sleeps in that other function of the same module, and its return address is all that the
/// livepatch core has to see that the task is in there. The name, `livepatch.OBJECT.FUNCTION`, is what a stack trace shows.
#[doc(hidden)]
#[macro_export]
macro_rules! replacement {
    (
        @name $object:tt $old:tt $pos:tt $new:expr, $ret:tt ($($named:tt)*)
        ($name:ident $($names:ident)*) ($type:ty, $($types:ty,)*)
    ) => {
        $crate::replacement!(
            @name $object $old $pos $new, $ret ($($named)* $name: $type,)
            ($($names)*) ($($types,)*)
        )
    };
    (
        @name $object:tt $old:tt [$($pos:literal)?] $new:expr, [$($ret:ty)?]
        ($($name:ident: $type:ty,)*) $names:tt ()
    ) => {{
        type __Old = unsafe extern "C" fn($($type),*) $(-> $ret)?;
        const __NEW: __Old =
            $crate::internal::Typed::<__Old> { function: $new }.function;

        #[allow(clippy::let_unit_value, improper_ctypes_definitions)]
        #[export_name = $crate::livepatch!(@symbol $object $old [$($pos)?])]
        unsafe extern "C" fn __replacement($($name: $type),*) $(-> $ret)? {
            // SAFETY: Whoever calls this calls what it stands for.
            let value = unsafe { __NEW($($name),*) };
            // SAFETY: Does nothing, but after the call.
            unsafe { ::core::arch::asm!("", options(nomem, nostack, preserves_flags)) };
            value
        }

        __replacement as *const ::kernel::ffi::c_void
    }};
    ($object:tt $old:tt $pos:tt $new:expr, ($($arg:ty),*) $(-> $ret:ty)?) => {
        $crate::replacement!(
            @name $object $old $pos $new, [$($ret)?] () (a b c d e f g h i j k l) ($($arg,)*)
        )
    };
}

/// Declares a module parameter that sysfs shows and, with a permission such as `0o644`, rewrites.
///
/// The first word is the static's name, the second the parameter's; then follow type, default, permissions as in
/// `module_param()`, and the text that `modinfo` prints. The type is `bool`, `i32`, `u32` or `usize`, a range of numbers such as
/// `u32 in 0..=4095`, which is read by `X.get().value()`, an `enum` that is declared on the spot, whose variants are words,
/// or a type of the author's own that implements [`Choice`](crate::Choice). A value that does not fit is refused with
/// `EINVAL`: at load time the module does not load and the kernel log names parameter and value.
///
/// # Examples
///
/// ```ignore
/// klp::param! {
///     static WHEN("when"): enum When { Pre = "pre", Post = "post" } = When::Pre, 0o444,
///     "raise the limits before the functions are patched (pre) or after (post)"
/// }
///
/// klp::param! {
///     static PRE_PATCH_RET("pre_patch_ret"): i32 = 0, 0o644, "errno that pre_patch returns"
/// }
///
/// klp::param! {
///     static PIDS("pids"): [i32; 64], 0o444, "the processes to wait for"
/// }
///
/// if WHEN.get() == When::Post { /* … */ }
/// ```
#[macro_export]
macro_rules! param {
    (
        $(#[$meta:meta])*
        static $static:ident($name:literal):
            enum $enum:ident { $($variant:ident = $word:literal),+ $(,)? } = $default:expr,
        $perm:literal, $description:literal $(,)?
    ) => {
        #[doc = concat!("The values of the parameter `", $name, "`.")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(i32)]
        enum $enum {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
        }

        // SAFETY: The enum is as large as an `i32`, and the functions of `Choice` store and load this very type.
        unsafe impl $crate::ParamValue for $enum {
            const OPS: *const ::kernel::bindings::kernel_param_ops =
                &<Self as $crate::Choice>::CHOICE_OPS;
        }

        impl $crate::Choice for $enum {
            const WORDS: &'static [(&'static ::kernel::str::CStr, Self)] =
                &[$(($crate::cstr(concat!($word, "\0")), Self::$variant)),+];
        }

        $crate::param!(
            @static $(#[$meta])* $static, $name, $enum, "charp", $default, $perm, $description
        );
    };

    (
        $(#[$meta:meta])*
        static $static:ident($name:literal):
            u32 in $min:literal ..= $max:literal = $default:expr,
        $perm:literal, $description:literal $(,)?
    ) => {
        $crate::param!(
            @static $(#[$meta])* $static, $name, $crate::Bounded<$min, $max>, "uint",
            $crate::Bounded::new::<{ $default }>(), $perm, $description
        );
    };

    (
        $(#[$meta:meta])*
        static $static:ident($name:literal): $ty:tt = $default:expr,
        $perm:literal, $description:literal $(,)?
    ) => {
        $crate::param!(
            @static $(#[$meta])* $static, $name, $ty, $crate::param!(@kind $ty), $default,
            $perm, $description
        );
    };

    (
        $(#[$meta:meta])*
        static $static:ident($name:literal): [$ty:tt; $len:expr],
        $perm:literal, $description:literal $(,)?
    ) => {
        $(#[$meta])*
        static $static: $crate::ParamArray<$ty, { $len }> =
            $crate::ParamArray::new($crate::param!(@none $ty));

        const _: () = {
            static ARRAY: $crate::internal::ParamArrayRaw = $static.raw();
            $crate::param!(
                @entry $name, concat!("array of ", $crate::param!(@kind $ty)),
                $description, |name, module| {
                    $crate::internal::ParamEntry::array(name, module, &ARRAY, $perm)
                }
            );
        };
    };

    (@none bool) => { false };
    (@none $number:ident) => { 0 };

    (@kind bool) => { "bool" };
    (@kind i32) => { "int" };
    (@kind u32) => { "uint" };
    (@kind usize) => { "ulong" };
    (@kind $choice:ident) => { "charp" };

    (
        @static $(#[$meta:meta])* $static:ident, $name:literal, $ty:ty, $kind:expr, $default:expr,
        $perm:literal, $description:literal
    ) => {
        $(#[$meta])*
        static $static: $crate::Param<$ty> = $crate::Param::new($default);

        const _: () = {
            $crate::param!(
                @entry $name, $kind, $description, |name, module| {
                    $crate::internal::ParamEntry::new(name, module, &$static, $perm)
                }
            );
        };
    };

    (
        @entry $name:literal, $kind:expr, $description:literal,
        |$cname:ident, $module:ident| $entry:expr
    ) => {
        #[link_section = "__param"]
        #[used(compiler)]
        static ENTRY: $crate::internal::ParamEntry = {
            let $cname = $crate::cstr(concat!($name, "\0"));
            // SAFETY: Only the address is taken.
            let $module = unsafe { (&raw const ::kernel::bindings::__this_module).cast_mut() };
            $entry
        };
        $crate::modinfo!(KIND, concat!("parmtype=", $name, ":", $kind));
        $crate::modinfo!(TEXT, concat!("parm=", $name, ":", $description));
    };
}

/// Declares the module `bindings`: what bindgen made of the sample's own `bindings.h`, over `kernel::bindings`.
///
/// A type that both have is the sample's; see `shared/klp/klp.mk` for the build side.
///
/// # Examples
///
/// ```ignore
/// klp::bindings!();
///
/// fn cookie(net: &bindings::net) -> u64 {
///     net.net_cookie
/// }
/// ```
#[macro_export]
macro_rules! bindings {
    () => {
        $crate::bindings!(@file "/bindings_generated.rs");
    };
    (@file $file:literal) => {
        #[allow(
            clippy::all,
            clippy::as_underscore,
            clippy::cast_lossless,
            clippy::ptr_as_ptr,
            clippy::ref_as_ptr,
            clippy::undocumented_unsafe_blocks,
            dead_code,
            improper_ctypes,
            missing_docs,
            non_camel_case_types,
            non_snake_case,
            non_upper_case_globals,
            unknown_lints,
            unnecessary_transmutes,
            unreachable_pub,
            unsafe_op_in_unsafe_fn
        )]
        mod bindings {
            pub use ::kernel::bindings::*;

            include!(concat!(env!("KLP_OBJ"), $file));
        }
    };
}

/// Puts a `tag=value` string into the module's `.modinfo`.
#[doc(hidden)]
#[macro_export]
macro_rules! modinfo {
    ($static:ident, $text:expr) => {
        #[link_section = ".modinfo"]
        #[used(compiler)]
        static $static: [u8; $text.len() + 1] = $crate::modinfo_bytes($text);
    };
}
