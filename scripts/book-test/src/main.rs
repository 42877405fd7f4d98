// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The built book in a real browser, as KTAP.
//!
//!     book-test PAGES [SCREENSHOTS]
//!
//! `PAGES` is the folder that mdBook wrote. With a second folder, pictures of three pages are put there, for a
//! person to look at. Chromium is started without a window; it reads the pages as files, and needs no network.

mod browser;
mod map;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
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
type Test = fn(&Browser, &Book) -> Result<Complaints>;

const TESTS: [(&str, Test); 9] = [
    (
        "every page loads without an error or a failed request",
        loads,
    ),
    ("no listing is empty", listings),
    ("search finds \"reversed\"", search),
    (
        "navigation folds, code can be copied, the book can be printed",
        comforts,
    ),
    (
        "each timeline is drawn and readable in both themes",
        timelines,
    ),
    ("each timeline has its text alternative", alternatives),
    ("nothing overflows at 400 pixels", overflow),
    (
        "each edge of the map is reached by its buttons, on a telephone",
        map::edges,
    ),
    (
        "the map is for keyboards, screen readers and both themes",
        map::readers,
    ),
];

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
    println!("KTAP version 1\n1..{}", TESTS.len());
    let mut good = true;
    for (nr, (name, test)) in TESTS.iter().enumerate() {
        let complaints = test(&browser, &book)?;
        for complaint in &complaints {
            println!("# {complaint}");
        }
        let word = if complaints.is_empty() {
            "ok"
        } else {
            "not ok"
        };
        println!("{word} {} {name}", nr + 1);
        good &= complaints.is_empty();
    }
    if let Some(folder) = screenshots {
        pictures(&browser, &book, folder)?;
    }
    Ok(good)
}

fn loads(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    let api = PathBuf::from("generated/api/klp/index.html");
    for page in book.pages.iter().chain([&api]) {
        browser.open(&book.address(page))?;
        complaints.extend(
            browser
                .errors()
                .into_iter()
                .map(|e| format!("{}: {e}", page.display())),
        );
    }
    Ok(complaints)
}

fn listings(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    for page in book.chapters() {
        browser.open(&book.address(page))?;
        let empty: Vec<usize> = browser.ask(
            "[...document.querySelectorAll('main pre code')]
                .map((code, nr) => code.textContent.trim() === '' ? nr + 1 : 0).filter(nr => nr)",
        )?;
        complaints.extend(
            empty
                .iter()
                .map(|nr| format!("{}: listing {nr} is empty", page.display())),
        );
    }
    Ok(complaints)
}

fn search(browser: &Browser, book: &Book) -> Result<Complaints> {
    #[derive(Deserialize)]
    struct Hit {
        link: String,
        text: String,
    }
    browser.open(&book.address(Path::new("index.html")))?;
    // As a reader does: `s` opens the search.
    browser.press("s")?;
    browser.wait("document.activeElement.tagName === 'INPUT'")?;
    browser.write("reversed")?;
    const RESULTS: &str = "[...document.querySelectorAll('#mdbook-searchresults li a')]";
    if browser.wait(&format!("{RESULTS}.length > 0")).is_err() {
        return Ok(vec!["nothing is found".to_owned()]);
    }
    let hits: Vec<Hit> = browser.ask(&format!(
        "{RESULTS}.map(a => ({{link: a.href, text: a.closest('li').textContent}}))"
    ))?;
    let telling = hits
        .iter()
        .any(|hit| hit.text.to_lowercase().contains("revers"));
    let mut complaints = Vec::new();
    if !telling {
        complaints.push(format!("none of {} results shows the word", hits.len()));
    }
    let pages: BTreeSet<&str> = hits
        .iter()
        .map(|hit| {
            hit.link
                .split_once('#')
                .map_or(hit.link.as_str(), |(page, _)| page)
        })
        .collect();
    for page in pages {
        browser.open(page)?;
        complaints.extend(browser.errors().into_iter().map(|e| format!("{page}: {e}")));
    }
    Ok(complaints)
}

fn comforts(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    let mut want = |what: &str, there: bool| {
        if !there {
            complaints.push(format!("missing: {what}"));
        }
    };
    browser.open(&book.address(Path::new("index.html")))?;
    browser.wait("document.querySelector('#mdbook-sidebar a') !== null")?;
    let folded =
        "[...document.querySelectorAll('#mdbook-sidebar li:not(.expanded) > ol.section')].length";
    want("folded sections", browser.ask::<usize>(folded)? > 0);
    want(
        "the print page",
        browser.ask("document.querySelector('a[href$=\"print.html\"]') !== null")?,
    );
    want(
        "the choice of a theme",
        browser.ask("document.querySelector('#mdbook-theme-navy') !== null")?,
    );
    want(
        "copy buttons",
        browser.ask(
            "document.querySelectorAll('main pre .clip-button').length > 0
                && document.querySelectorAll('main pre .clip-button').length
                    === document.querySelectorAll('main pre > code').length",
        )?,
    );
    browser.open(&book.address(Path::new("print.html")))?;
    let whole = book.chapters().count();
    want(
        "chapters on the print page",
        browser.ask::<usize>("document.querySelectorAll('main h1').length")? >= whole - 1,
    );
    Ok(complaints)
}

/// What a page says of its pictures.
const TIMELINES: &str = r#"
(() => {
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\d.]+/g).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = luminance(getComputedStyle(document.documentElement).backgroundColor);
    const contrast = colour => {
        const [low, high] = [luminance(colour), ground].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    return [...document.querySelectorAll('svg.klp-timeline')].map(svg => {
        const box = svg.getBoundingClientRect();
        const marks = [...svg.querySelectorAll('circle, rect')];
        const words = [...svg.querySelectorAll('text')];
        return {
            width: box.width,
            height: box.height,
            title: svg.querySelector('title')?.textContent ?? '',
            description: svg.querySelector('desc')?.textContent ?? '',
            role: svg.getAttribute('role') ?? '',
            callbacks: svg.querySelectorAll('circle').length,
            marks: Math.min(...marks.map(mark => contrast(getComputedStyle(mark).fill))),
            words: Math.min(...words.map(text => contrast(getComputedStyle(text).fill))),
            cut: words.filter(text => text.getBoundingClientRect().right > box.right + 1).length,
        };
    });
})()"#;

#[derive(Deserialize)]
struct Timeline {
    width: f64,
    height: f64,
    title: String,
    description: String,
    role: String,
    callbacks: usize,
    /// The least contrast of a mark and of a word with the page.
    marks: Option<f64>,
    words: Option<f64>,
    /// Texts that reach out of the picture.
    cut: usize,
}

/// The pictures of each page that has some.
fn all_timelines(browser: &Browser, book: &Book) -> Result<BTreeMap<PathBuf, Vec<Timeline>>> {
    let mut found = BTreeMap::new();
    for page in book.chapters() {
        let text = fs::read_to_string(book.root.join(page))
            .with_context(|| format!("reading {}", page.display()))?;
        // The browser is asked only where there is something to see.
        if !text.contains("klp-timeline") {
            continue;
        }
        browser.open(&book.address(page))?;
        let timelines: Vec<Timeline> = browser.ask(TIMELINES)?;
        if !timelines.is_empty() {
            found.insert(page.clone(), timelines);
        }
    }
    Ok(found)
}

fn timelines(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    for theme in THEMES {
        browser.open(&book.address(Path::new("index.html")))?;
        browser.theme(theme)?;
        for width in [DESK, PHONE] {
            browser.width(width)?;
            let found = all_timelines(browser, book)?;
            if found.is_empty() {
                complaints.push("there is no timeline".to_owned());
            }
            for (page, timeline) in found
                .iter()
                .flat_map(|(p, all)| all.iter().map(move |t| (p, t)))
            {
                let mut wrong = |what: String| {
                    complaints.push(format!(
                        "{}, {theme}, {width} pixels: {what}",
                        page.display()
                    ));
                };
                if timeline.width < 200.0 || timeline.height < 100.0 {
                    wrong(format!("{} by {}", timeline.width, timeline.height));
                }
                if timeline.words.unwrap_or(0.0) < CONTRAST {
                    wrong(format!(
                        "contrast of text {:.1}",
                        timeline.words.unwrap_or(0.0)
                    ));
                }
                // Marks are told apart by 3 to 1 (WCAG 2.2, 1.4.11).
                if timeline.marks.unwrap_or(0.0) < 3.0 {
                    wrong(format!(
                        "contrast of marks {:.1}",
                        timeline.marks.unwrap_or(0.0)
                    ));
                }
                if timeline.cut > 0 {
                    wrong(format!("{} texts are cut off", timeline.cut));
                }
            }
        }
    }
    browser.width(DESK)?;
    browser.theme(THEMES[0])?;
    Ok(complaints)
}

fn alternatives(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    for (page, timelines) in all_timelines(browser, book)? {
        for timeline in timelines {
            let told = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"]
                .map(|name| {
                    timeline
                        .description
                        .matches(&format!(". {name} of "))
                        .count()
                })
                .iter()
                .sum::<usize>();
            if timeline.role != "img" || timeline.title.is_empty() || told != timeline.callbacks {
                complaints.push(format!(
                    "{}: `{}` shows {} callbacks and tells of {told}",
                    page.display(),
                    timeline.title,
                    timeline.callbacks
                ));
            }
        }
    }
    Ok(complaints)
}

fn overflow(browser: &Browser, book: &Book) -> Result<Complaints> {
    browser.width(PHONE)?;
    let mut complaints = Vec::new();
    for page in book.chapters() {
        browser.open(&book.address(page))?;
        let wide: u32 = browser.ask("document.documentElement.scrollWidth")?;
        if wide > PHONE {
            let what: String = browser.ask(
                "[...document.querySelectorAll('main *')]
                    .filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('pre, table'))
                    .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40)).slice(0, 1).join()",
            )?;
            complaints.push(format!("{}: {wide} pixels wide: {what}", page.display()));
        }
    }
    browser.width(DESK)?;
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
        browser
            .ask::<bool>("(document.querySelector('svg.klp-timeline')?.scrollIntoView(), true)")?;
        let file = folder.join(format!("{name}.png"));
        fs::write(&file, browser.picture()?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
