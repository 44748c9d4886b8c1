//! A headless Chromium, driven over WebDriver.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use super::rig::Rig;
use postern_tests::deadline::{SOON, wait_for};

/// The password that tests set at the first sign-in.
pub(crate) const PASSWORD: &str = "correct horse battery staple 7";

/// A browser with an empty profile.
pub(crate) struct Browser {
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
    driver: Child,
    /// Kept open: the driver would fail to write to a closed pipe.
    _said: BufReader<ChildStdout>,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.spawn().expect("chromedriver; `make test` installs it");
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port = said.by_ref().lines().map_while(Result::ok).find_map(|line| port_of(&line)).expect("chromedriver names its port");
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"acceptInsecureCerts": true, "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": args}});
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            builder.capabilities(wanted.as_object().unwrap().clone());
            builder.connect(&format!("http://127.0.0.1:{port}")).await.unwrap()
        });
        Self { runtime, client: Some(client), driver, _said: said, _profile: profile }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client().goto(url)).unwrap();
    }

    pub(crate) fn path(&self) -> String {
        self.runtime.block_on(self.client().current_url()).unwrap().path().to_owned()
    }

    /// Evaluates an expression in the page.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        self.runtime.block_on(self.client().execute(&format!("return ({expression});"), Vec::new())).unwrap()
    }

    pub(crate) fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let evaluated = self.runtime.block_on(self.client().execute(&format!("return ({expression});"), Vec::new()));
        evaluated.map_err(|error| error.to_string())
    }

    /// Runs statements in the page.
    pub(crate) fn run(&self, statements: &str) {
        self.runtime.block_on(self.client().execute(statements, Vec::new())).unwrap();
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn wait_until(&self, what: &str, expression: &str) {
        wait_for(what, SOON, || match self.try_eval(expression) {
            Ok(Value::Bool(true)) => Ok(()),
            seen => Err(format!("{seen:?} on {}: {}", self.path(), self.try_eval("document.body.innerText").unwrap_or_default())),
        });
    }

    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.runtime.block_on(async {
            let element = self.client().find(Locator::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"));
            element.clear().await.unwrap();
            element.send_keys(text).await.unwrap();
        });
    }

    pub(crate) fn click(&self, css: &str) {
        self.runtime.block_on(async {
            let element = self.client().find(Locator::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"));
            element.click().await.unwrap();
        });
    }

    /// Signs in as the first user, and sets a password of one's own when asked to.
    pub(crate) fn sign_in(&self, rig: &Rig) {
        self.open(&format!("{}/", rig.api.console()));
        self.wait_until("the sign-in page", "location.pathname === '/sign-in' && !!document.querySelector('#user')");
        let first = &rig.prepared.first;
        self.fill("#user", &first.admin_user);
        self.fill("#password", &first.admin_password);
        self.click("button[type=submit]");
        self.wait_until("the page to change the password", "location.pathname === '/change-password' && !!document.querySelector('#new')");
        self.fill("#current", &first.admin_password);
        self.fill("#new", PASSWORD);
        self.fill("#repeat", PASSWORD);
        self.click("button[type=submit]");
        self.wait_until("the console", "!['/sign-in', '/change-password'].includes(location.pathname)");
    }

    /// Opens the list of alerts and waits until it updates itself.
    pub(crate) fn open_alerts(&self, rig: &Rig) {
        self.open(&format!("{}/alerts?state=all", rig.api.console()));
        self.wait_until("the live list", "document.querySelector('#live')?.dataset.live === 'up'");
    }

    /// Saves what is seen, for people to look at.
    pub(crate) fn screenshot(&self, name: &str) {
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        let png = self.runtime.block_on(self.client().screenshot()).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // The driver ends Chromium; when it is gone already there is nothing left to close.
            drop(self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), client.close()).await }));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn port_of(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("successfully on port ")?;
    rest.trim_end_matches('.').trim().parse().ok()
}
