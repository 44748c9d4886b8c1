//! TLS of listeners and of their canary, made again whenever the identity changes: connections that are open stay as they are.

use postern_uplink::identity::Identity;
use postern_uplink::tls::{Certified, TlsError};
use tokio::sync::watch;

/// Makes something again from the certificate of the listeners and the identity.
pub(crate) type Refresh = Box<dyn Fn(&Certified, &Identity) -> Result<(), TlsError> + Send + Sync>;

/// Makes something of both now, and returns what makes it again, with its present value.
///
/// # Errors
/// [`TlsError`] when the certificates are not usable.
pub(crate) fn live<T: Send + Sync + 'static>(
    certified: &Certified,
    identity: &Identity,
    make: impl Fn(&Certified, &Identity) -> Result<T, TlsError> + Send + Sync + 'static,
) -> Result<(Refresh, watch::Receiver<T>), TlsError> {
    let (sender, value) = watch::channel(make(certified, identity)?);
    let refresh = move |certified: &Certified, identity: &Identity| {
        sender.send_replace(make(certified, identity)?);
        Ok(())
    };
    Ok((Box::new(refresh), value))
}
