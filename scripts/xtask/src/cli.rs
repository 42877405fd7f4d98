// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The command line, declared once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::kernel::own;

/// Kernel, modules, virtual machine, tests and book of the livepatch cookbook.
///
/// Exit status: 0 success; 1 a test failed or a module does not build; 2 wrong usage; 3 this host
/// lacks something or is broken; 4 the guest kernel panicked or oopsed; 5 a time-out ended the
/// guest; 130 interrupted.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    #[command(flatten)]
    pub kernel: KernelArgs,

    /// Print the command line of each virtual machine
    #[arg(short, long, global = true)]
    pub verbose: bool,

    #[command(subcommand)]
    pub command: Command,
}

/// Which kernel the modules are built for and run on.
#[derive(Args, Clone)]
pub struct KernelArgs {
    /// Which kernel: `stock`, Debian's image that this was tested with; a release of Debian's, as `uname -r` says it; a
    /// small one that is built here, named after its file in scripts/xtask/kernels: `debug` with the kernel's checkers,
    /// `cfi`, and, after `scripts/setup arm64`, `arm64`; or the folder in which you have built one
    #[arg(
        long,
        env = "KDIR",
        value_name = "KERNEL",
        global = true,
        default_value = "stock",
        hide_env_values = true
    )]
    pub kernel: String,

    /// Build the small kernel from this source tree or tarball
    #[arg(long = "kernel-source", value_name = "PATH", global = true)]
    pub source: Option<PathBuf>,

    /// The same as --kernel debug
    #[arg(long, global = true)]
    pub debug: bool,
}

/// What `--kernel` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// An image of Debian's, unmodified; without a name the one that this was tested with.
    Image(Option<String>),
    /// A small one, built here, by the name of its configuration.
    Own(String),
    /// Somebody has built it in this folder.
    Dir(PathBuf),
}

impl Choice {
    /// The kernel with the checkers.
    pub fn debug() -> Choice {
        Choice::Own("debug".to_owned())
    }
}

impl KernelArgs {
    /// The same options with another kernel.
    pub fn with(&self, kernel: &str) -> KernelArgs {
        KernelArgs {
            kernel: kernel.to_owned(),
            debug: false,
            ..self.clone()
        }
    }

    pub fn choice(&self) -> Choice {
        match self.kernel.as_str() {
            _ if self.debug => Choice::debug(),
            "stock" if self.source.is_some() => Choice::debug(),
            "stock" => Choice::Image(None),
            name if own::fragment(name).is_file() => Choice::Own(name.to_owned()),
            // `7.2.12+deb13-amd64`; a folder of such a name is called ./7.2.12…
            name if name.starts_with(|c: char| c.is_ascii_digit()) && !name.contains('/') => {
                Choice::Image(Some(name.to_owned()))
            }
            dir => Choice::Dir(dir.into()),
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Fetch, verify, unpack, configure and build the kernel (cached, resumable)
    Kernel {
        /// Print only what `make` in a module's folder is to be told
        #[arg(long)]
        make: bool,
    },
    /// Build modules through Kbuild
    Build {
        /// Samples or module sets, or folders of your own (with a slash); all of ours when none is named
        names: Vec<String>,
    },
    /// `cargo check` for the kernel-side crates
    Check,
    /// `cargo clippy` for the kernel-side crates
    Clippy,
    /// rustdoc of `klp`
    Doc,
    /// Write rust-project.json, by which an editor's rust-analyzer knows the kernel-side crates
    RustAnalyzer,
    /// Boot, load a sample with its target, show the timeline, disable, unload, power off
    Run(RunArgs),
    /// Run every sample and show its timeline
    Demo,
    /// Host tests, shellcheck, tidy, then the kselftests in the virtual machine
    ///
    /// With --debug only the kselftests and the kernel's own tests, all of them on the debug kernel, as `debug NAME`.
    /// Without it two of them follow where the debug kernel is built already (rules, netdev-features), and with CI_FULL=1 in
    /// the environment, which builds them first, all of them on each small kernel of our own: `cfi NAME`, `gcc NAME` and so on.
    ///
    /// `upstream-rust` is the kernel's own livepatch selftests on our modules, `upstream-c`, which runs only when it is
    /// named, the same on the kernel's: `test upstream` runs both.
    Test(TestArgs),
    /// Run suites on several kernels, and print a table of what passes on which
    ///
    /// The results of each kernel are kept below target/matrix; without a KERNEL only the table is printed.
    Matrix(MatrixArgs),
    /// Build the book, with its pictures and tables, and check it
    Book {
        /// Serve it with live reload instead
        #[arg(long)]
        serve: bool,
    },
    /// mdBook's preprocessor: links from the book's text to rustdoc of the crate
    #[command(hide = true)]
    BookApi {
        supports: Option<String>,
        renderer: Option<String>,
    },
    /// The rules of the callback document, each with its test case and its last result
    Rules,
    /// Write the crate as patches against the kernel's own tree, and apply and check them
    ///
    /// They are in target/series. --kernel with a release of Debian's, or --kernel-source, names another tree to write them against.
    /// `test series` then builds each patch alone, boots a kernel of all of them, and runs the tests of the samples on it.
    Series,
    /// Check that samples, chapters, tests and transcripts belong together
    Tidy,
    /// A shell, or one command, in the virtual machine, with the modules at hand
    Shell(ShellArgs),
    /// What is known of the kernel, by which `ask`, `new`, `translate` and `preflight` answer, and where it is kept
    ///
    /// Where nothing is kept yet, it boots the kernel once and asks.
    ///
    /// Exit status: 0 it is known, 2 there is no such kernel, 3 it cannot be prepared or booted here.
    Facts,
    /// Can a livepatch replace this function, what is its prototype, and what to do where it cannot
    ///
    /// Exit status: 0 it can, 1 it cannot, or there is no such function, 2 wrong usage, 3 the kernel cannot be asked.
    Ask {
        #[arg(required_unless_present = "assembly")]
        function: Option<String>,
        /// `vmlinux` or a module; without it the first that has the function
        object: Option<String>,
        /// Print a table of the kernel's routines in assembly: which of them a redirect can stand for
        #[arg(long, conflicts_with = "function")]
        assembly: bool,
    },
    /// Make a livepatch of a function, with test and chapter, that changes nothing until you do
    New {
        /// The sample's name: small letters and dashes
        name: String,
        #[command(flatten)]
        what: NewArgs,
    },
    /// Which functions a kernel patch changes, and what a livepatch can do of it
    ///
    /// Exit status: 0 it is all in functions that can be replaced, 1 it is not, 2 the file is no such diff, 3 the kernel cannot be
    /// asked.
    Translate {
        /// A unified diff
        patch: PathBuf,
    },
    /// Say of livepatches, without booting, what would be refused, crash or do nothing
    ///
    /// Exit status: 0 clean, or no livepatch, 10 warnings, 11 would be refused, 12 would crash or do nothing, the worst of all
    /// modules; 1 one does not build, 2 a file is no module, or a name is unknown, 3 the kernel cannot be asked.
    Preflight {
        /// Files, or names of samples or module sets, which are built first; every module when none is named
        modules: Vec<String>,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure modules in Rust against the same in C, in one boot, by counted instructions
    Bench {
        #[command(flatten)]
        what: BenchArgs,
    },
}

#[derive(Args)]
pub struct NewArgs {
    /// What is replaced; `FUNCTION@2` for the second symbol of that name, `-` or nothing where callbacks change data alone
    #[arg(required_unless_present_any = ["kind", "callbacks", "state"])]
    pub function: Option<String>,
    /// `vmlinux` or a module; without it the first that has the function
    pub object: Option<String>,
    /// Callbacks to begin with, with commas: pre_patch, post_patch, pre_unpatch, post_unpatch
    #[arg(long, value_delimiter = ',', value_parser = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"])]
    pub callbacks: Vec<String>,
    /// What pre_patch finds is kept until post_unpatch, and the change is declared as a state
    #[arg(long)]
    pub state: bool,
    /// The sample that is nearest, under the new name
    #[arg(long, conflicts_with_all = ["function", "callbacks", "state"], value_parser = ["data", "shadow", "redirect", "syscall", "handover"])]
    pub kind: Option<String>,
    /// A folder of its own, outside of the repository, with the crate beside it
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Args)]
pub struct TestArgs {
    /// Only tests whose name contains one of these
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Let the scripts write selftests/expected/ anew; read the difference before committing it
    #[arg(long)]
    pub bless: bool,
}

#[derive(Args)]
pub struct MatrixArgs {
    /// Releases of Debian's, as `uname -r` says them
    #[arg(value_name = "KERNEL")]
    pub kernels: Vec<String>,
    /// Only suites whose name contains this; without it all that run on any kernel
    #[arg(long = "suite", value_name = "PATTERN")]
    pub suites: Vec<String>,
    /// Write the table for the book
    #[arg(long)]
    pub book: bool,
}

#[derive(Args, Default)]
pub struct RunArgs {
    /// The sample's name: its folder below samples/
    pub name: String,
    /// Module parameters, as for insmod
    pub params: Vec<String>,
    /// What is loaded last must be refused with this error: the livepatch, or its target with --order after
    #[arg(long, value_name = "ERRNO")]
    pub expect: Option<String>,
    /// Load the livepatch's target before it or after it
    #[arg(long)]
    pub order: Option<Order>,
    /// A word for the kernel's command line
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub append: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    Before,
    After,
}

#[derive(Args)]
pub struct ShellArgs {
    /// A command to run in place of a shell
    #[arg(trailing_var_arg = true)]
    pub command: Vec<String>,
    /// Virtio network cards
    #[arg(long, default_value_t = 0)]
    pub nics: u32,
    /// After so many seconds a command's guest is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    /// Memory of a command's guest
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u32,
    /// Build these samples or module sets before, with commas; without it every one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub build: Vec<String>,
    /// Take the modules that were built last
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
    /// A folder that the guest may write to; all else that it writes is forgotten
    #[arg(long, value_name = "FOLDER")]
    pub writable: Vec<PathBuf>,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub what: Option<BenchCommand>,

    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,

    /// Few items, few functions: to see that it works
    #[arg(long, conflicts_with = "book")]
    pub quick: bool,

    /// Write the table for the book
    #[arg(long)]
    pub book: bool,
}

#[derive(Subcommand)]
pub enum BenchCommand {
    /// What the first run waited for, part by part
    Cold,
    /// Measure the tool itself: edit to verdict against a bare boot
    Loop {
        /// How often each is measured
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
}
