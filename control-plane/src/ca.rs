//! The control plane's own certificate authority.

/// Issues certificates.
pub struct CertificateAuthority {}

/// A host name or address in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(String);

impl ServerName {
    /// Parses a name.
    ///
    /// # Errors
    /// A reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(' ') { Err("no".to_owned()) } else { Ok(Self(text.to_owned())) }
    }
}
