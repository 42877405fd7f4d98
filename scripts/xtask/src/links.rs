// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whether each link of the built book leads to a page that is there, and to a place on it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use walkdir::WalkDir;

use crate::oops::pattern;
use crate::paths::ends_in;
use crate::paths::read_lossy;

/// The broken links below `root`. rustdoc's pages are its own affair, and links to other hosts are not followed.
pub fn broken(root: &Path) -> Result<Vec<String>> {
    let link = pattern(r#"<[^>]*\s(?:href|src)="([^"]*)""#);
    let mut pages = BTreeMap::new();
    let root = &root.canonicalize()?;
    for entry in WalkDir::new(root) {
        let path = entry?.into_path();
        if ends_in(&path, "html") {
            pages.insert(path.clone(), read_lossy(&path));
        }
    }
    let mut broken = BTreeSet::new();
    for (page, text) in &pages {
        // What a server shows for an address that is none has its parts below the server's root.
        if page.ends_with("404.html") || page.components().any(|part| part.as_os_str() == "api") {
            continue;
        }
        for found in link.captures_iter(text) {
            let (path, place) = found[1].split_once('#').unwrap_or((&found[1], ""));
            if path.split('/').next().unwrap_or_default().contains(':') {
                continue;
            }
            let folder = page.parent().unwrap_or(root);
            let mut target = match path {
                "" => page.clone(),
                path => folder.join(path).canonicalize().unwrap_or_default(),
            };
            if target.is_dir() {
                target.push("index.html");
            }
            let there = match pages.get(&target) {
                Some(text) if !place.is_empty() => text.contains(&format!("id=\"{place}\"")),
                Some(_) => true,
                None => target.is_file(),
            };
            if !there {
                let page = page.strip_prefix(root).unwrap_or(page);
                broken.insert(format!("{}: {}", page.display(), &found[1]));
            }
        }
    }
    Ok(broken.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[test]
    fn a_link_that_leads_nowhere_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("m/api")).unwrap();
        let page = r##"<a href="../b.html#here">1</a> <a class="x" href="../b.html#gone">2</a>
            <a href="#top">3</a><h1 id="top"></h1> <a href="none.html">4</a> <img src="../c.png">
            <a href="https://example.org/x">5</a> <a href="..">6</a> <a href="api/">7</a>"##;
        fs::write(root.join("m/a.html"), page).unwrap();
        fs::write(
            root.join("m/api/index.html"),
            r#"<a href="gone.html">x</a>"#,
        )
        .unwrap();
        fs::write(root.join("b.html"), r#"<p id="here">"#).unwrap();
        assert_eq!(
            broken(root).unwrap(),
            [
                "m/a.html: ..",
                "m/a.html: ../b.html#gone",
                "m/a.html: ../c.png",
                "m/a.html: none.html"
            ]
        );
    }
}
