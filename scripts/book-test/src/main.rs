// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The built book in a real browser, as KTAP.
//!
//!     book-test PAGES [SCREENSHOTS]
//!
//! `PAGES` is the folder that mdBook wrote. With a second folder, pictures of three pages are put there, for a
//! person to look at. Chromium is started without a window; it reads the pages as files, and needs no network.

mod browser;
mod map;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use walkdir::WalkDir;

use browser::Browser;

/// The themes that a reader gets without choosing: by day and by night.
const THEMES: [&str; 2] = ["light", "navy"];

/// A narrow telephone, in CSS pixels.
const PHONE: u32 = 400;
const DESK: u32 = 1280;

/// The least contrast of text that accessibility guidelines ask for (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;

type Complaints = Vec<String>;

/// The pages of the book.
struct Book {
    root: PathBuf,
    pages: Vec<PathBuf>,
}

impl Book {
    fn open(root: &Path) -> Result<Book> {
        let root = root
            .canonicalize()
            .with_context(|| format!("{} is no folder with a book", root.display()))?;
        let mut pages = Vec::new();
        // rustdoc's pages are its own affair, save for the first; what a server shows for an address that is none has its
        // parts below the server's root.
        let walk = WalkDir::new(&root).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| !entry.path().ends_with("generated/api")) {
            let path = entry.context("reading the pages")?.into_path();
            if path.extension().is_some_and(|end| end == "html") && !path.ends_with("404.html") {
                pages.push(path.strip_prefix(&root).unwrap_or(&path).to_path_buf());
            }
        }
        ensure!(
            pages.contains(&PathBuf::from("index.html")),
            "{} has no index.html: build the book first",
            root.display()
        );
        Ok(Book { root, pages })
    }

    /// The pages that a reader turns: not those that only mdBook itself makes.
    fn chapters(&self) -> impl Iterator<Item = &PathBuf> {
        let made = ["print.html", "toc.html"].map(Path::new);
        self.pages
            .iter()
            .filter(move |p| !made.contains(&p.as_path()))
    }

    fn address(&self, page: &Path) -> String {
        format!("file://{}", self.root.join(page).display())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(pages) = arguments.next() else {
        eprintln!("usage: book-test PAGES [SCREENSHOTS]");
        return ExitCode::from(2);
    };
    match run(&pages, arguments.next().as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run(pages: &Path, screenshots: Option<&Path>) -> Result<bool> {
    let book = Book::open(pages)?;
    let browser = Browser::start()?;
    println!("KTAP version 1");
    let seen = read(&browser, &book)?;
    let cases = [
        (
            "every page loads without an error or a failed request",
            seen.errors,
        ),
        ("no listing is empty", seen.listings),
        ("search finds \"reversed\"", search(&browser, &book)?),
        (
            "navigation folds, code can be copied, the book can be printed",
            comforts(&browser, &book)?,
        ),
        (
            "each timeline is drawn and readable in both themes",
            seen.timelines,
        ),
        ("each timeline has its text alternative", seen.alternatives),
        ("nothing overflows at 400 pixels", seen.overflow),
        (
            "each edge of the map is reached by its buttons, on a telephone",
            map::edges(&browser, &book)?,
        ),
        (
            "the map is for keyboards, screen readers and both themes",
            map::readers(&browser, &book)?,
        ),
    ];
    println!("1..{}", cases.len());
    for (nr, (name, complaints)) in cases.iter().enumerate() {
        for complaint in complaints {
            println!("# {complaint}");
        }
        let word = if complaints.is_empty() {
            "ok"
        } else {
            "not ok"
        };
        println!("{word} {} {name}", nr + 1);
    }
    if let Some(folder) = screenshots {
        pictures(&browser, &book, folder)?;
    }
    Ok(cases.iter().all(|(_, complaints)| complaints.is_empty()))
}

/// What is wrong in the pages.
#[derive(Default)]
struct Seen {
    errors: Complaints,
    listings: Complaints,
    timelines: Complaints,
    alternatives: Complaints,
    overflow: Complaints,
}

/// Turn every page once on a desk and once on a telephone, where it hides its sidebar as it loads, and ask it everything.
fn read(browser: &Browser, book: &Book) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut drawn = 0;
    let api = PathBuf::from("generated/api/klp/index.html");
    for width in [PHONE, DESK] {
        browser.width(width)?;
        for page in book.pages.iter().chain([&api]) {
            browser.open(&book.address(page))?;
            let at = |what: &str| format!("{}: {width} pixels: {what}", page.display());
            let ask = |question: &str| -> Result<Complaints> {
                let said: Complaints = browser.ask(question)?;
                Ok(said.iter().map(|what| at(what)).collect())
            };
            if book.chapters().any(|chapter| chapter == page) {
                seen.listings.extend(ask("klpTest.emptyListings()")?);
                seen.alternatives.extend(ask("klpTest.untold()")?);
                if width == PHONE {
                    seen.overflow
                        .extend(ask(&format!("klpTest.overflow({PHONE})"))?);
                }
                let pictures: usize =
                    browser.ask("document.querySelectorAll('svg.klp-timeline').length")?;
                drawn += pictures;
                for theme in THEMES.iter().filter(|_| pictures > 0) {
                    browser.theme(theme)?;
                    let wrong = ask("klpTest.unreadable()")?.into_iter();
                    seen.timelines
                        .extend(wrong.map(|what| format!("{theme}: {what}")));
                }
            }
            let errors = browser.errors();
            seen.errors.extend(errors.iter().map(|what| at(what)));
        }
    }
    ensure!(drawn > 0, "there is no timeline");
    browser.open(&book.address(Path::new("index.html")))?;
    browser.theme(THEMES[0])?;
    Ok(seen)
}

fn search(browser: &Browser, book: &Book) -> Result<Complaints> {
    browser.open(&book.address(Path::new("index.html")))?;
    // As a reader does: `s` opens the search.
    browser.press("s")?;
    browser.wait("document.activeElement.tagName === 'INPUT'")?;
    for letter in ["r", "e", "v", "e", "r", "s", "e", "d"] {
        browser.press(letter)?;
    }
    const RESULTS: &str = "[...document.querySelectorAll('#mdbook-searchresults li a')]";
    if browser.wait(&format!("{RESULTS}.length > 0")).is_err() {
        return Ok(vec!["nothing is found".to_owned()]);
    }
    // Page and text of each.
    let hits: Vec<(String, String)> = browser.ask(&format!(
        "{RESULTS}.map(a => [a.href.split('#')[0], a.closest('li').textContent.toLowerCase()])"
    ))?;
    let mut complaints = Vec::new();
    if !hits.iter().any(|(_, text)| text.contains("revers")) {
        complaints.push(format!("none of {} results shows the word", hits.len()));
    }
    for page in hits
        .into_iter()
        .map(|(page, _)| page)
        .collect::<BTreeSet<_>>()
    {
        browser.open(&page)?;
        complaints.extend(browser.errors().into_iter().map(|e| format!("{page}: {e}")));
    }
    Ok(complaints)
}

fn comforts(browser: &Browser, book: &Book) -> Result<Complaints> {
    browser.open(&book.address(Path::new("index.html")))?;
    browser.wait("document.querySelector('#mdbook-sidebar a') !== null")?;
    let mut complaints: Complaints = browser.ask("klpTest.missing()")?;
    browser.open(&book.address(Path::new("print.html")))?;
    let printed: usize = browser.ask("document.querySelectorAll('main h1').length")?;
    if printed < book.chapters().count() - 1 {
        complaints.push("missing: chapters on the print page".to_owned());
    }
    Ok(complaints)
}

/// Three pages as a reader sees them: by day, by night, on a telephone.
fn pictures(browser: &Browser, book: &Book, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, page, theme, width) in [
        ("start-light", "index.html", "light", DESK),
        ("sample-navy", "samples/sysctl-update.html", "navy", DESK),
        ("sample-phone", "samples/sysctl-update.html", "light", PHONE),
    ] {
        browser.width(width)?;
        browser.open(&book.address(Path::new("index.html")))?;
        browser.theme(theme)?;
        browser.open(&book.address(Path::new(page)))?;
        browser.act("document.querySelector('svg.klp-timeline')?.scrollIntoView()")?;
        let file = folder.join(format!("{name}.png"));
        fs::write(&file, browser.picture()?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
