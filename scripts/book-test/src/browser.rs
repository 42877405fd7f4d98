// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One tab of a browser without a window, and what went wrong in it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::Emulation::SetDeviceMetricsOverride;
use headless_chrome::protocol::cdp::Log::LogEntryLevel;
use headless_chrome::protocol::cdp::Network;
use headless_chrome::protocol::cdp::Page::CaptureScreenshotFormatOption;
use headless_chrome::protocol::cdp::Runtime::ConsoleAPICalledEventTypeOption;
use headless_chrome::LaunchOptions;
use headless_chrome::Tab;
use serde::de::DeserializeOwned;

/// Nothing that a page does takes this long, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The build root's.
const PATH: &str = "/usr/bin/chromium";

pub struct Browser {
    tab: Arc<Tab>,
    errors: Arc<Mutex<Vec<String>>>,
    // Ends the process when dropped.
    _process: headless_chrome::Browser,
}

impl Browser {
    pub fn start() -> Result<Browser> {
        let options = LaunchOptions::default_builder()
            .path(Some(PATH.into()))
            // The browser refuses its sandbox to root; the pages are our own files.
            .sandbox(!nix::unistd::geteuid().is_root())
            .window_size(Some((1280, 900)))
            .idle_browser_timeout(PATIENCE * 10)
            // Files may read files beside them, as pages on a server may.
            .args(vec![OsStr::new("--allow-file-access-from-files")])
            .build()
            .context("the browser's options")?;
        let process = headless_chrome::Browser::new(options).context("starting the browser")?;
        let tab = process.new_tab().context("opening a tab")?;
        tab.set_default_timeout(PATIENCE);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&errors);
        tab.enable_log()?.enable_runtime()?;
        tab.call_method(Network::Enable {
            max_total_buffer_size: None,
            max_resource_buffer_size: None,
            max_post_data_size: None,
            report_direct_socket_traffic: None,
            enable_durable_messages: None,
        })?;
        tab.add_event_listener(Arc::new(move |event: &Event| {
            if let Some(error) = error_of(event) {
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(error);
            }
        }))?;
        Ok(Browser {
            tab,
            errors,
            _process: process,
        })
    }

    /// Load a page and wait until its scripts have run.
    pub fn open(&self, address: &str) -> Result<()> {
        self.errors();
        self.tab
            .navigate_to(address)
            .and_then(|tab| tab.wait_until_navigated())
            .with_context(|| format!("opening {address}"))?;
        self.wait("document.readyState === 'complete'")
    }

    /// What went wrong since this was last asked.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value of a JavaScript expression.
    pub fn ask<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let text = self
            .tab
            .evaluate(&format!("JSON.stringify({expression})"), false)
            .with_context(|| format!("asking the page for {expression}"))?
            .value
            .unwrap_or_default();
        serde_json::from_str(text.as_str().unwrap_or_default())
            .with_context(|| format!("the page's answer to {expression}"))
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

    pub fn press(&self, key: &str) -> Result<()> {
        self.tab.press_key(key).map(drop)
    }

    pub fn write(&self, text: &str) -> Result<()> {
        self.tab.type_str(text).map(drop)
    }

    /// Choose a theme, as the menu of a page does; it stays chosen.
    pub fn theme(&self, name: &str) -> Result<()> {
        self.ask::<bool>(&format!(
            "(() => {{ document.querySelector('#mdbook-theme-{name}').click(); return true; }})()"
        ))?;
        self.wait(&format!(
            "document.documentElement.classList.contains('{name}')"
        ))
    }

    /// Show pages in a window that is so many CSS pixels wide.
    pub fn width(&self, pixels: u32) -> Result<()> {
        self.tab
            .call_method(SetDeviceMetricsOverride {
                width: pixels,
                height: 900,
                device_scale_factor: 1.0,
                mobile: pixels < 600,
                scale: None,
                screen_width: None,
                screen_height: None,
                position_x: None,
                position_y: None,
                dont_set_visible_size: None,
                screen_orientation: None,
                viewport: None,
                display_feature: None,
                device_posture: None,
            })
            .map(drop)
    }

    /// What the window shows, as PNG.
    pub fn picture(&self) -> Result<Vec<u8>> {
        self.tab
            .capture_screenshot(CaptureScreenshotFormatOption::Png, None, None, true)
    }
}

/// What an event complains of, if it does.
fn error_of(event: &Event) -> Option<String> {
    match event {
        Event::LogEntryAdded(added) => {
            let entry = &added.params.entry;
            (entry.level == LogEntryLevel::Error).then(|| {
                let place = entry.url.as_deref().unwrap_or_default();
                format!("{} {place}", entry.text)
            })
        }
        Event::RuntimeExceptionThrown(thrown) => Some(format!(
            "uncaught: {}",
            thrown.params.exception_details.text
        )),
        Event::RuntimeConsoleAPICalled(called) => (called.params.Type
            == ConsoleAPICalledEventTypeOption::Error)
            .then(|| format!("console.error: {:?}", called.params.args)),
        Event::NetworkLoadingFailed(failed) => {
            Some(format!("request: {}", failed.params.error_text))
        }
        _ => None,
    }
}
