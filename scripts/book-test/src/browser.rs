// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One tab of a browser without a window, and what went wrong in it.
//!
//! Chromium takes its DevTools protocol from descriptor 3 and answers on descriptor 4, in JSON with a zero byte after each
//! message (`--remote-debugging-pipe`): no port, no handshake, and nothing to link for it.

use std::cell::Cell;
use std::cell::RefCell;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use base64::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing that a page does takes this long, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The build root's browser; the shell gives it the descriptors.
const START: &str = "exec /usr/bin/chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

pub struct Browser {
    process: Child,
    orders: ChildStdin,
    said: mpsc::Receiver<Value>,
    /// The tab's; empty until there is one.
    session: String,
    number: Cell<u64>,
    /// The document that was loaded last.
    loaded: RefCell<Value>,
    errors: RefCell<Vec<String>>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    pub fn start() -> Result<Browser> {
        let profile = tempfile::tempdir().context("making a folder for the browser")?;
        let mut command = Command::new("sh");
        command.args([
            "-c",
            START,
            "chromium",
            "--headless",
            "--remote-debugging-pipe",
        ]);
        // Files may read files beside them, as pages on a server may.
        command.args([
            "--allow-file-access-from-files",
            "--no-first-run",
            "--disable-background-networking",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // The browser refuses its sandbox to root; the pages are our own files.
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            command.arg("--no-sandbox");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("starting the browser")?;
        let orders = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            let messages = answers.split(0).map_while(Result::ok);
            let messages = messages.filter_map(|text| serde_json::from_slice(&text).ok());
            messages
                .map_while(|message| tell.send(message).ok())
                .count()
        });
        let mut browser = Browser {
            process,
            orders,
            said,
            session: String::new(),
            number: Cell::new(0),
            loaded: RefCell::default(),
            errors: RefCell::default(),
            _profile: profile,
        };
        let tab = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for domain in ["Log", "Network", "Page", "Runtime"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        browser.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}))?;
        let script = json!({"source": include_str!("page.js")});
        browser.call("Page.addScriptToEvaluateOnNewDocument", script)?;
        browser.width(crate::DESK)?;
        Ok(browser)
    }

    /// Call a method of the protocol; the answer is its result.
    fn call(&self, method: &str, params: Value) -> Result<Value> {
        let id = self.number.get() + 1;
        self.number.set(id);
        let mut order = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            order["sessionId"] = json!(self.session);
        }
        (&self.orders)
            .write_all(format!("{order}\0").as_bytes())
            .context("telling the browser")?;
        let end = Instant::now() + PATIENCE;
        loop {
            let mut said = self
                .next(end)
                .with_context(|| format!("waiting for {method}"))?;
            if said["id"] != id {
                continue;
            }
            if !said["error"].is_null() {
                bail!("{method}: {}", said["error"]["message"]);
            }
            return Ok(said["result"].take());
        }
    }

    /// What the browser says next; events are taken note of.
    fn next(&self, end: Instant) -> Result<Value> {
        let said = self
            .said
            .recv_timeout(end.saturating_duration_since(Instant::now()))?;
        let params = &said["params"];
        if said["method"] == "Page.lifecycleEvent" && params["name"] == "load" {
            self.loaded.replace(params["loaderId"].clone());
        }
        self.errors.borrow_mut().extend(error_of(&said));
        Ok(said)
    }

    /// Load a page and wait until its scripts have run.
    pub fn open(&self, address: &str) -> Result<()> {
        self.errors();
        let opening = || format!("opening {address}");
        let went = self
            .call("Page.navigate", json!({"url": address}))
            .with_context(opening)?;
        if let Some(error) = went["errorText"].as_str() {
            bail!("opening {address}: {error}");
        }
        // None: another place in the same document.
        let end = Instant::now() + PATIENCE;
        while !went["loaderId"].is_null() && *self.loaded.borrow() != went["loaderId"] {
            self.next(end).with_context(opening)?;
        }
        self.wait("document.readyState === 'complete'")
    }

    /// What went wrong since this was last asked.
    pub fn errors(&self) -> Vec<String> {
        self.errors.take()
    }

    /// The value of a JavaScript expression.
    pub fn ask<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let asking = || format!("asking the page for {expression}");
        let text = format!("JSON.stringify({expression})");
        let said = self
            .call("Runtime.evaluate", json!({"expression": text}))
            .with_context(asking)?;
        let text = said["result"]["value"].as_str().unwrap_or_default();
        serde_json::from_str(text)
            .with_context(|| format!("the page's answer to {expression}: {said}"))
    }

    /// Do something that has no value.
    pub fn act(&self, expression: &str) -> Result<()> {
        self.ask::<bool>(&format!("({expression}, true)")).map(drop)
    }

    /// Wait until an expression is true.
    pub fn wait(&self, expression: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.ask(expression)? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("the page never came to: {expression}")
    }

    /// Press a key, by its name or what it writes.
    pub fn press(&self, key: &str) -> Result<()> {
        let (text, code) = match key {
            "Enter" => ("\r", 13),
            key => (key, key.to_ascii_uppercase().as_bytes()[0]),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Choose a theme, as the menu of a page does; it stays chosen.
    pub fn theme(&self, name: &str) -> Result<()> {
        self.act(&format!(
            "document.querySelector('#mdbook-theme-{name}').click()"
        ))?;
        self.wait(&format!(
            "document.documentElement.classList.contains('{name}')"
        ))
    }

    /// Show pages in a window that is so many CSS pixels wide.
    pub fn width(&self, pixels: u32) -> Result<()> {
        let metrics =
            json!({"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": pixels < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .map(drop)
    }

    /// What the window shows, as PNG.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        Ok(BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default())?)
    }
}

/// What an event complains of, if it does.
fn error_of(said: &Value) -> Option<String> {
    let params = &said["params"];
    match said["method"].as_str()? {
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            let entry = &params["entry"];
            Some(format!("{} {}", entry["text"], entry["url"]))
        }
        "Runtime.exceptionThrown" => {
            let details = &params["exceptionDetails"];
            Some(format!("uncaught: {}", details["exception"]["description"]))
        }
        "Runtime.consoleAPICalled" if params["type"] == "error" => {
            Some(format!("console.error: {}", params["args"]))
        }
        "Network.loadingFailed" => Some(format!("request: {}", params["errorText"])),
        _ => None,
    }
}
