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

/// `klpWalk(state)` goes to a state by the shortest way, takes each edge from there and comes back, all by clicking.
const WALK: &str = r#"(() => {
    const root = document.getElementById('klp-map');
    const map = JSON.parse(document.getElementById('klp-map-data').textContent);
    const came = [[]];
    for (const queue = [0]; queue.length;) {
        const at = queue.shift();
        for (const way of map.ways[at]) {
            if (came[way[1]]) continue;
            came[way[1]] = [...came[at], way];
            queue.push(way[1]);
        }
    }
    window.klpWalk = state => {
        const complaints = [];
        const press = name => root.querySelector(`button[data-word="${name}"]`)?.click();
        const take = way => {
            const name = map.actions[way[0]][0];
            press(name);
            const logged = [...root.querySelectorAll('pre span')].map(line => line.textContent.trim());
            const right = way[2].map(nr => map.lines[nr]).join() === logged.join();
            if (Number(root.dataset.state) !== way[1] || !right) complaints.push(`${state}: ${name}`);
            const wide = document.documentElement.scrollWidth;
            if (wide > innerWidth) complaints.push(`${state}: ${name}: ${wide} pixels wide`);
        };
        press('again');
        came[state].forEach(take);
        for (const way of map.ways[state]) {
            take(way);
            press('back');
        }
        return {edges: map.ways[state].length, complaints};
    };
    return map.states.length;
})()"#;

#[derive(Deserialize)]
struct Walked {
    edges: usize,
    complaints: Vec<String>,
}

pub fn edges(browser: &Browser, book: &Book) -> Result<Complaints> {
    browser.width(PHONE)?;
    browser.open(&book.address(Path::new(PAGE)))?;
    let (mut complaints, mut edges) = (Vec::new(), 0);
    for state in 0..browser.ask::<usize>(WALK)? {
        let walked: Walked = browser.ask(&format!("klpWalk({state})"))?;
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
        let least: f64 = browser.ask(CONTRASTS)?;
        want(&format!("{theme}: contrast {least:.1}"), least >= CONTRAST);
    }
    browser.theme(THEMES[0])?;
    // By the keyboard: the first button, and the focus stays among the buttons.
    browser.ask::<bool>("(document.querySelector('#klp-map button').focus(), true)")?;
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
            "document.querySelector('#klp-map [aria-live]').textContent.includes('Callbacks: ')",
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

/// The least contrast of a button's text with its ground.
const CONTRASTS: &str = r"(() => {
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\d.]+/g).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return Math.min(...[...document.querySelectorAll('#klp-map button:enabled')].map(button => {
        const style = getComputedStyle(button);
        const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    }));
})()";
