// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A transcript as a picture for the book: what was typed, which callback ran for which object, and in which state
//! the transition was, from the first line at the top to the last at the bottom.
//!
//! The picture is drawn from the file that a test compares with the kernel's log, and from nothing else. Its colours
//! are those of the page's theme: it is inlined into the page and styled by classes.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::timeline;
use crate::timeline::Callback;
use crate::timeline::Event;

const WIDTH: usize = 400;
const ROW: usize = 22;
/// The left of the band that shows the transition, and the middle of the first object's lane.
const BAND: usize = 8;
const FIRST_LANE: usize = 34;
const LANE: usize = 16;
/// Characters of the small monospaced type that fit between the lanes and the right edge.
const CHAR: f32 = 6.1;

/// In which state the patch is after the livepatch core said `text`, in the words of the style sheet.
fn phase_after(phase: &'static str, text: &str) -> &'static str {
    let says = |what| text.contains(what);
    if says("starting patching transition") || says("unpatching to patching") {
        "patching"
    } else if says("starting unpatching transition") || says("patching to unpatching") {
        "unpatching"
    } else if says("unpatching complete") || says("failed to enable") {
        "unpatched"
    } else if says("patching complete") {
        "patched"
    } else {
        phase
    }
}

/// Draw `transcript`, whose picture is called `title`, as an SVG element.
pub fn draw(title: &str, transcript: &str) -> String {
    let story = timeline::parse_transcript(transcript);
    let events: Vec<&Event> = story.entries.iter().map(|entry| &entry.event).collect();
    let objects: BTreeSet<&str> = story
        .callbacks()
        .into_iter()
        .map(|c| c.object.as_str())
        .collect();
    let objects = Vec::from_iter(objects);
    let text_x = FIRST_LANE + LANE * objects.len();
    let head = ROW * (objects.len() + 1);

    let mut rows = String::new();
    let mut spoken = String::new();
    let mut phase = "unpatched";
    let mut y = head + ROW / 2;
    for event in events {
        let top = y - ROW / 2;
        let before = phase;
        if let Event::Core(text) = event {
            phase = phase_after(phase, text);
        }
        let drawn = row(event, phase != before, &objects, text_x, y);
        let Some((shapes, words)) = drawn else {
            continue;
        };
        let _ = writeln!(
            rows,
            r#"<rect class="band {phase}" x="{BAND}" y="{top}" width="8" height="{ROW}"/>{shapes}"#
        );
        spoken.push_str(&words);
        spoken.push_str(". ");
        y += ROW;
    }
    let height = y - ROW / 2 + 6;

    let mut lanes = String::new();
    for (nr, object) in objects.iter().enumerate() {
        let (x, label) = (FIRST_LANE + LANE * nr, ROW * (nr + 1));
        let top = label - 4;
        let _ = writeln!(
            lanes,
            r#"<path class="lane" d="M{x} {top} V{height}"/><path class="lane" d="M{x} {top} H{}"/>{}"#,
            text_x - 4,
            text("object", text_x, label, object, "object ")
        );
    }
    format!(
        // A line each, so that a change of a transcript is a change of few lines here; no blank one, which would end the
        // element for Markdown.
        "<svg class=\"klp-timeline\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <title>{}</title>\n<desc>{}</desc>\n{}\n{lanes}{rows}</svg>\n",
        escape(title),
        escape(spoken.trim_end()),
        text("head", BAND, 12, "transition", ""),
    )
}

/// The shapes of one line of the story and the words that stand for them; nothing for a line that the band tells.
fn row(
    event: &Event,
    changes_phase: bool,
    objects: &[&str],
    x: usize,
    y: usize,
) -> Option<(String, String)> {
    let base = y + 4;
    Some(match event {
        Event::Command(command) => {
            let shapes = text("command", x, base, command, "$ ");
            (shapes, format!("Typed: {command}"))
        }
        Event::Effect(_, effect) => {
            let shapes = text("effect", x, base, effect, "");
            (shapes, format!("Seen: {effect}"))
        }
        Event::Callback(callback) => {
            let Callback {
                name,
                object,
                text: words,
                ..
            } = callback;
            let lane = objects.iter().position(|o| o == object).unwrap_or(0);
            let cx = FIRST_LANE + LANE * lane;
            let kind = match name.ends_with("unpatch") {
                true => "unpatch",
                false => "patch",
            };
            let shapes = format!(
                r#"<circle class="callback {kind}" cx="{cx}" cy="{y}" r="5"/>{}"#,
                text("callback", x, base, &format!("{name} {words}"), "")
            );
            (shapes, format!("{name} of {object} {words}"))
        }
        Event::Core(words) if changes_phase || words.contains("failed") => {
            let shapes = text("core", x, base, words, "");
            (shapes, format!("Livepatch core: {words}"))
        }
        Event::Core(_) => return None,
        Event::Module(words) => (text("module", x, base, words, ""), words.clone()),
        Event::Complaint(words) => {
            let shapes = text("complaint", x, base, words, "");
            (shapes, format!("The kernel complains: {words}"))
        }
    })
}

/// A line of text that is cut where the picture ends; the whole of it is in its tooltip.
fn text(class: &str, x: usize, y: usize, words: &str, mark: &str) -> String {
    let room = ((WIDTH - x) as f32 / CHAR) as usize;
    let whole = format!("{mark}{}", words.trim_end());
    let mut shown = whole.clone();
    let mut tip = String::new();
    if whole.chars().count() > room {
        let cut: String = whole.chars().take(room.saturating_sub(1)).collect();
        shown = format!("{}…", cut.trim_end());
        tip = format!("<title>{}</title>", escape(&whole));
    }
    let shown = escape(&shown);
    format!(r#"<text class="{class}" x="{x}" y="{y}">{tip}{shown}</text>"#)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        // Markdown, and who checks its links, would take `[x]` for the name of a link.
        .replace('[', "&#91;")
        .replace(']', "&#93;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversed_transition_changes_the_band() {
        let after = phase_after(
            "patching",
            "reversing transition from patching to unpatching",
        );
        assert_eq!(after, "unpatching");
        let after = phase_after(after, "reversing transition from unpatching to patching");
        assert_eq!(after, "patching");
        assert_eq!(phase_after(after, "completing"), "patching");
    }
}
