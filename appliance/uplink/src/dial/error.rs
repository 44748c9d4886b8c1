//! Why there is no connection, told apart by the stage that failed, so that the doctor need not read texts.

use std::io;
use std::net::SocketAddr;

use super::STEP_TIMEOUT;
use crate::url::UrlError;

/// Why there is no connection. `to` is always host and port.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No TCP connection to any of the addresses that the name has.
    #[error("cannot connect to {to}")]
    Connect {
        /// Whom: the control plane, or the proxy when there is one.
        to: String,
        /// The most telling cause.
        #[source]
        cause: io::Error,
        /// Every address that was tried, and what came of it.
        tried: Vec<Tried>,
    },
    /// The proxy asks for credentials, or refuses those it was given (407).
    #[error("the proxy {proxy} {demand}; it offers {}", listed(schemes))]
    ProxyAuthentication {
        /// Its address.
        proxy: String,
        /// The schemes that it offers, as it spells them.
        schemes: Vec<String>,
        /// What is the matter, and what to do.
        demand: Demand,
    },
    /// The connection to the proxy broke.
    #[error("the connection to the proxy {proxy} broke")]
    ProxyBroke {
        /// Its address.
        proxy: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What came back is not an HTTP answer.
    #[error("{proxy} does not answer as an HTTP proxy: check its address and port")]
    ProxyNotHttp {
        /// Its address.
        proxy: String,
    },
    /// The proxy refused.
    #[error("the proxy {proxy} refuses to connect to {to}: {status} {reason}")]
    ProxyRefused {
        /// Its address.
        proxy: String,
        /// Where we wanted to go.
        to: String,
        /// HTTP status.
        status: u16,
        /// Its reason phrase.
        reason: String,
        /// What its answer looks like.
        page: Page,
    },
    /// The proxy is connected and says nothing.
    #[error("the proxy {proxy} did not answer within {} s", STEP_TIMEOUT.as_secs())]
    ProxyTimeout {
        /// Its address.
        proxy: String,
    },
    /// The name cannot be resolved.
    #[error("the name {host} cannot be resolved: check it and this machine's DNS servers")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// There is no address to connect to.
    #[error("no address to connect to")]
    Unaddressed(#[from] UrlError),
}

/// One address that was tried.
#[derive(Debug)]
pub struct Tried {
    /// The address.
    pub address: SocketAddr,
    /// What came of it.
    pub cause: io::Error,
}

/// Why a proxy answers 407.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Demand {
    /// It offers only schemes that this program does not speak.
    #[error(
        "wants a scheme that this program does not speak: have its administrator allow this machine without authentication, or with Basic \
         or Digest"
    )]
    Foreign,
    /// It wants a user name and password, and none are set.
    #[error("wants a user name and password: set them")]
    Missing,
    /// It refuses the user name and password that are set.
    #[error("refuses the user name or password: correct them")]
    Refused,
}

/// What a proxy's refusal looks like, beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it sends a browser (`Location`): typical of a sign-in page.
    pub location: Option<String>,
    /// Whether it is a page for a browser (`Content-Type: text/html`).
    pub is_html: bool,
}

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The name was looked up.
    Resolve,
    /// A TCP connection was tried.
    Connect,
    /// The proxy was asked.
    Proxy,
}

impl DialError {
    /// Returns the stage that failed.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Resolve { .. } | Self::Unaddressed(_) => Stage::Resolve,
            Self::Connect { .. } => Stage::Connect,
            Self::ProxyAuthentication { .. }
            | Self::ProxyBroke { .. }
            | Self::ProxyNotHttp { .. }
            | Self::ProxyRefused { .. }
            | Self::ProxyTimeout { .. } => Stage::Proxy,
        }
    }
}

fn listed(schemes: &[String]) -> String {
    if schemes.is_empty() { "no scheme".to_owned() } else { schemes.join(", ") }
}
