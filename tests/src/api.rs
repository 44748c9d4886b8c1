//! The control plane's API, by curl, as tests ask it.

// An answer that is not what it should be ends the test.
#![allow(clippy::indexing_slicing, clippy::missing_panics_doc, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::deadline::{SOON, wait_for};
use crate::launcher::Prepared;
use crate::tools::run_with_input;

/// One API client.
#[derive(Clone)]
pub struct Api {
    console: String,
    ca: PathBuf,
    client_id: String,
    client_secret: String,
    token: std::cell::RefCell<Option<String>>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names and values in order.
    pub headers: Vec<(String, String)>,
    /// Everything after the headers.
    pub body: String,
}

impl Reply {
    /// Parses the body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Finds the first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Panics unless the answer is a success.
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{self:?}");
        self
    }
}

impl Api {
    /// A client with the rights of the demo's own.
    pub fn new(prepared: &Prepared) -> Self {
        Self::for_client(prepared, &prepared.first.client_id, &prepared.first.client_secret)
    }

    /// Another client of the demo's control plane.
    pub fn for_client(prepared: &Prepared, id: &str, secret: &str) -> Self {
        Self::at(&format!("https://{}", prepared.sockets.https()), &prepared.layout.ca(), id, secret)
    }

    /// A client of the control plane whose console is at the URL `console`.
    pub fn at(console: &str, ca: &Path, id: &str, secret: &str) -> Self {
        Self {
            console: console.to_owned(),
            ca: ca.to_owned(),
            client_id: id.to_owned(),
            client_secret: secret.to_owned(),
            token: std::cell::RefCell::default(),
        }
    }

    /// The console's URL.
    pub fn console(&self) -> &str {
        &self.console
    }

    /// The file of the certificate authority to trust.
    pub fn ca(&self) -> &str {
        self.ca.to_str().unwrap()
    }

    /// Asks without any credential; `more` are arguments of curl.
    ///
    /// # Errors
    /// With curl's words when there is no answer.
    pub fn bare(&self, method: &str, path: &str, body: Option<&str>, more: &[&str]) -> Result<Reply, String> {
        let url = format!("{}{path}", self.console);
        let mut args = vec!["-sS", "-i", "--max-time", "20", "--cacert", self.ca(), "-X", method, "-H", "Expect:", &url];
        if body.is_some() {
            args.extend(["--data-binary", "@-"]);
            if !more.iter().any(|arg| arg.to_ascii_lowercase().starts_with("content-type")) {
                args.extend(["-H", "Content-Type: application/json"]);
            }
        }
        args.extend(more);
        let output = run_with_input("curl", &args, body.unwrap_or_default().as_bytes());
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Asks with this client's token.
    ///
    /// # Errors
    /// When there is no answer, or no token.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>, more: &[&str]) -> Result<Reply, String> {
        let header = format!("Authorization: Bearer {}", self.token()?);
        self.bare(method, path, body, &[more, &["-H", &header]].concat())
    }

    /// Gets `path`, whatever the status.
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, None, &[]).unwrap()
    }

    /// Posts JSON to `path`, whatever the status.
    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, Some(body), &[]).unwrap()
    }

    /// Returns the bearer token, fetched once.
    ///
    /// # Errors
    /// When the control plane gives none.
    pub fn token(&self) -> Result<String, String> {
        if let Some(token) = &*self.token.borrow() {
            return Ok(token.clone());
        }
        let user = format!("{}:{}", self.client_id, self.client_secret);
        let form = &["-u", &user, "-H", "Content-Type: application/x-www-form-urlencoded"];
        let reply = self.bare("POST", "/oauth2/token", Some("grant_type=client_credentials"), form)?;
        if reply.status != 200 {
            return Err(format!("{reply:?}"));
        }
        let token = reply.json()["access_token"].as_str().unwrap().to_owned();
        *self.token.borrow_mut() = Some(token.clone());
        Ok(token)
    }

    /// Every alert, by way of the cursor.
    pub fn alerts(&self) -> Vec<Value> {
        self.try_alerts().unwrap()
    }

    /// Every alert, unless the control plane does not answer.
    ///
    /// # Errors
    /// With what it said instead.
    pub fn try_alerts(&self) -> Result<Vec<Value>, String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let reply = self.ask("GET", &format!("/api/v1/alerts?limit=1000{cursor}"), None, &[])?;
            if reply.status != 200 {
                return Err(format!("{reply:?}"));
            }
            let page = reply.json();
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Waits until there is such an alert.
    pub fn wait_for_alert(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_alert_within(what, SOON, is_it)
    }

    /// Waits until there is such an alert, for at most `deadline`.
    pub fn wait_for_alert_within(&self, what: &str, deadline: Duration, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, deadline, || {
            let alerts = self.try_alerts()?;
            alerts.iter().find(|alert| is_it(alert)).cloned().ok_or_else(|| format!("{alerts:#?}"))
        })
    }

    /// Puts a configuration and returns its revision's number.
    pub fn put_configuration(&self, gateway: &str, document: &str, force: Force) -> Reply {
        let query = match force {
            Force::Checked => "",
            Force::Forced => "?force=true",
        };
        self.ask("PUT", &format!("/api/v1/gateways/{gateway}/configuration{query}"), Some(document), &[]).unwrap()
    }
}

/// Whether the control plane checks a configuration before it sends it.
pub enum Force {
    /// It does.
    Checked,
    /// It sends what it would refuse.
    Forced,
}

fn parse(text: &str) -> Reply {
    let (mut head, mut body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    // Interim answers, and a proxy's answer to CONNECT.
    while body.starts_with("HTTP/") {
        (head, body) = body.split_once("\r\n\r\n").unwrap_or((body, ""));
    }
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Reply { status, headers, body: body.to_owned() }
}
