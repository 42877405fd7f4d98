// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The map of the callbacks: each of its edges by the page's buttons, on a telephone; by the keyboard; and the samples' ways.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::browser::Browser;
use crate::Book;
use crate::Complaints;
use crate::CONTRAST;
use crate::DESK;
use crate::PHONE;
use crate::THEMES;

const PAGE: &str = "model/map.html";

#[derive(Deserialize)]
struct Walked {
    edges: usize,
    complaints: Vec<String>,
}

pub fn edges(browser: &Browser, book: &Book) -> Result<Complaints> {
    browser.width(PHONE)?;
    browser.open(&book.address(Path::new(PAGE)))?;
    let (mut complaints, mut edges) = (Vec::new(), 0);
    for state in 0..browser.ask::<usize>("klpTest.states()")? {
        let walked: Walked = browser.ask(&format!("klpTest.walk({state}, {PHONE})"))?;
        edges += walked.edges;
        complaints.extend(walked.complaints);
    }
    println!("# {edges} edges clicked");
    complaints.extend(browser.errors());
    browser.width(DESK)?;
    complaints.truncate(10);
    Ok(complaints)
}

pub fn readers(browser: &Browser, book: &Book) -> Result<Complaints> {
    let mut complaints = Vec::new();
    let mut want = |what: &str, there: bool| {
        if !there {
            complaints.push(what.to_owned());
        }
    };
    for theme in THEMES {
        browser.open(&book.address(Path::new(PAGE)))?;
        browser.theme(theme)?;
        let least: f64 = browser.ask("klpTest.buttons()")?;
        want(&format!("{theme}: contrast {least:.1}"), least >= CONTRAST);
    }
    browser.theme(THEMES[0])?;
    // By the keyboard: the first button, and the focus stays among the buttons.
    browser.act("document.querySelector('#klp-map button').focus()")?;
    browser.press("Enter")?;
    want(
        "Enter presses a button",
        browser
            .wait("document.getElementById('klp-map').dataset.state !== '0'")
            .is_ok(),
    );
    want(
        "the focus stays on a button",
        browser.ask("document.activeElement.tagName === 'BUTTON'")?,
    );
    want(
        "what happened is told aloud",
        browser.ask(
            "document.querySelector('#klp-map [aria-live]')?.textContent.includes('Callbacks: ') ?? false",
        )?,
    );
    // Each sample's way is one, to its end.
    let ways: Vec<(String, usize)> =
        browser.ask("[...document.querySelectorAll('[data-path]')].map(e => [e.id, e.dataset.path.split(',').length])")?;
    want("the samples' ways", !ways.is_empty());
    for (id, steps) in ways {
        browser.open(&book.address(Path::new("index.html")))?;
        browser.open(&format!("{}#{id}", book.address(Path::new(PAGE))))?;
        let taken: usize = browser.ask("document.querySelectorAll('#klp-map ol li').length")?;
        want(&format!("{id}: {taken} of {steps} steps"), taken == steps);
    }
    Ok(complaints)
}
