//! `secret`: seals what devices ask for to a gateway's key, on a machine that the administrator trusts, and shows what is sealed.
//!
//! The content comes from standard input, never from the command line, where other users of the machine could read it.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::{BASE64, HEXLOWER};
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::secret::{self, MAX_CONTENT_BYTES};
use serde::Serialize;
use zeroize::Zeroizing;

use super::CliError;
use super::accounts::missing;
use super::print::Form;
use crate::store::audit::By;
use crate::store::secrets::NewSecret;
use crate::store::{StoreError, Stores, TenantStore};
use crate::{clock, sealing, secrets};

/// Who seals here, in lists.

#[derive(Subcommand)]
pub(super) enum SecretCommand {
    /// Delete a secret: its gateway forgets it.
    Delete {
        #[command(flatten)]
        of: Of,
        /// Its name.
        #[arg(long)]
        name: String,
    },
    /// Show the key to which a gateway's secrets are sealed, for `seal --spki`.
    Key {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        form: Form,
    },
    /// List a gateway's secrets: names, versions, states; never a content.
    List {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        form: Form,
    },
    /// Seal the secret on standard input to a gateway's key, and store it: only that gateway can open it.
    Seal(Seal),
}

#[derive(Args)]
pub(super) struct Of {
    /// The tenant.
    #[arg(long)]
    tenant: TenantId,
    /// The gateway.
    #[arg(long)]
    gateway: GatewayId,
}

/// What `seal` needs to know. The secret itself is on standard input; one line break at its end is left out.
#[derive(Args)]
pub(super) struct Seal {
    #[command(flatten)]
    of: Of,
    /// Name of the secret: 1 to 64 characters of a-z, 0-9, '.', '_' and '-'.
    #[arg(long)]
    name: String,
    /// Its version: the last one plus 1, which is also the default; 1 with --spki.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// File with the gateway's key (DER, PEM or base64); no configuration is needed then.
    #[arg(long, value_name = "FILE", requires = "print")]
    spki: Option<PathBuf>,
    /// Go on only if this is the SHA-256 of the key: what `postern-gateway status` says on the gateway.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// Print the sealed secret (base64; with --json the body of the API's PUT) instead of storing it.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    form: Form,
}

impl Seal {
    /// Whether it works without a data folder.
    pub(super) const fn stands_alone(&self) -> bool {
        self.spki.is_some()
    }
}

/// The body of the API's PUT.
#[derive(Serialize)]
struct Body {
    version: u32,
    sealed: String,
    sealed_to: String,
}

/// A sealed secret and the key that it is for.
struct Sealed {
    version: u32,
    sealed: Vec<u8>,
    sealed_to: [u8; 32],
}

impl Sealed {
    fn body(&self) -> Body {
        Body { version: self.version, sealed: BASE64.encode(&self.sealed), sealed_to: HEXLOWER.encode(&self.sealed_to) }
    }
}

/// Seals to the key in a file and prints; touches no store.
pub(super) fn seal_alone(seal: Seal) -> Result<(), CliError> {
    let path = seal.spki.as_deref().unwrap_or_else(|| std::path::Path::new(""));
    let text = std::fs::read(path).map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?;
    let spki = spki(&text).ok_or_else(|| CliError::Usage(format!("{} holds no key: DER, PEM or base64 is taken", path.display())))?;
    let version = seal.version.unwrap_or(1);
    print_sealed(&seal, &sealed(&seal, &spki, version)?)
}

pub(super) async fn run(command: SecretCommand, stores: &Stores) -> Result<(), CliError> {
    match command {
        SecretCommand::Delete { of, name } => {
            let deleted = open(stores, &of).await?.delete_secret(&of.gateway, &name, (By::command_line(), clock::now())).await;
            deleted.map_err(|error| missing(error, "secret", &name))
        }
        SecretCommand::Key { of, form } => {
            let key = open(stores, &of).await?.sealing_key(&of.gateway).await?.ok_or_else(no_key)?;
            let answer = serde_json::json!({ "spki": BASE64.encode(&key.spki), "sha256": HEXLOWER.encode(&key.sha256) });
            form.print(&answer, |_| vec![BASE64.encode(&key.spki)])
        }
        SecretCommand::List { of, form } => {
            let store = open(stores, &of).await?;
            let gateway = stores.find_gateway(&of.tenant, &of.gateway).await?;
            let status = gateway.as_ref().and_then(|gateway| gateway.status.as_ref());
            let listed = secrets::list(&store, &of.gateway, status).await?;
            form.print(&listed, |listed| {
                let line = |view: &secrets::SecretView| {
                    let state = serde_json::to_value(view.state).ok();
                    let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().replace('_', " ");
                    format!("{}\t{}\t{state}\t{}\t{}", view.record.name, view.record.version, view.record.created_by, view.problem)
                };
                listed.iter().map(|view| line(view).trim_end().to_owned()).collect()
            })
        }
        SecretCommand::Seal(seal) => store(seal, stores).await,
    }
}

async fn store(seal: Seal, stores: &Stores) -> Result<(), CliError> {
    let store = open(stores, &seal.of).await?;
    let gateway = &seal.of.gateway;
    let key = store.sealing_key(gateway).await?.ok_or_else(no_key)?;
    let version = match seal.version {
        Some(version) => version,
        None => {
            let last = store.secret_versions(gateway).await?.into_iter().find(|(name, _)| *name == seal.name);
            last.map_or(1, |(_, version)| version.saturating_add(1))
        }
    };
    let made = sealed(&seal, &key.spki, version)?;
    if seal.print {
        return print_sealed(&seal, &made);
    }
    let new = NewSecret {
        gateway: gateway.clone(),
        name: seal.name.clone(),
        version,
        sealed: made.sealed,
        sealed_to: made.sealed_to,
        by: By::command_line(),
        at: clock::now(),
        once: None,
    };
    let stored = secrets::outcome(store.put_secret(new).await?);
    stored.map_err(|error| CliError::Usage(error.to_string()))?;
    let sealed_to = HEXLOWER.encode(&made.sealed_to);
    let answer = serde_json::json!({ "name": seal.name, "version": version, "sealed_to": sealed_to });
    seal.form.print(&answer, |_| {
        vec![
            format!("Version {version} of {} is sealed and on its way to {gateway}.", seal.name),
            format!("It is sealed to the key {sealed_to}: compare it with what postern-gateway status says there."),
        ]
    })
}

fn sealed(seal: &Seal, spki: &[u8], version: u32) -> Result<Sealed, CliError> {
    if !secret::is_name(&seal.name) {
        return Err(CliError::Usage("a name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'".to_owned()));
    }
    let sealed_to = sealing::fingerprint(spki);
    let wanted = seal.fingerprint.as_ref().map(|wanted| wanted.replace([':', ' '], "").to_ascii_lowercase());
    if wanted.is_some_and(|wanted| wanted != HEXLOWER.encode(&sealed_to)) {
        let found = HEXLOWER.encode(&sealed_to);
        return Err(CliError::Usage(format!("the key has the fingerprint {found}, not the one that was asked for: nothing was sealed")));
    }
    let context = secret::context(&seal.of.tenant, &seal.of.gateway, &seal.name, version);
    let content = content()?;
    let sealed = sealing::seal(spki, &context, &content).map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(Sealed { version, sealed, sealed_to })
}

fn print_sealed(seal: &Seal, made: &Sealed) -> Result<(), CliError> {
    seal.form.print(&made.body(), |body| vec![body.sealed.clone()])
}

/// Reads the secret.
fn content() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        let hint = "give the secret on standard input, for example: systemd-ask-password | postern-control secret seal …";
        return Err(CliError::Usage(hint.to_owned()));
    }
    // Room for a line break, and for one byte too many; never moved, so that it can be wiped.
    let mut content = Zeroizing::new(vec![0; MAX_CONTENT_BYTES + 3]);
    let mut length = 0;
    while let Some(room) = content.get_mut(length..).filter(|room| !room.is_empty()) {
        let read = stdin.read(room).map_err(|error| CliError::Usage(format!("standard input cannot be read: {error}")))?;
        if read == 0 {
            break;
        }
        length += read;
    }
    content.truncate(length);
    if content.last() == Some(&b'\n') {
        content.pop();
        if content.last() == Some(&b'\r') {
            content.pop();
        }
    }
    Ok(content)
}

/// Reads a key in whichever form people have it.
fn spki(text: &[u8]) -> Option<Vec<u8>> {
    // DER begins with a SEQUENCE, which is the digit 0: base64 of a SEQUENCE begins with M.
    if text.first() == Some(&b'0') {
        return Some(text.to_vec());
    }
    let text = std::str::from_utf8(text).ok()?;
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).flat_map(str::split_whitespace).collect();
    BASE64.decode(base64.as_bytes()).ok().filter(|der| !der.is_empty())
}

async fn open(stores: &Stores, of: &Of) -> Result<TenantStore, CliError> {
    let store = stores.tenant(&of.tenant).map_err(|error| missing(error, "tenant", of.tenant.as_str()))?;
    let record = stores.system().find_gateway(&of.gateway).await?.filter(|record| record.tenant == of.tenant);
    let record = record.ok_or_else(|| missing(StoreError::NotFound, "gateway", of.gateway.as_str()))?;
    if record.revoked_at.is_some() {
        return Err(CliError::Usage(format!("gateway {} is revoked", of.gateway)));
    }
    Ok(store)
}

fn no_key() -> CliError {
    CliError::Usage("the gateway has not told its sealing key yet: it does when it connects".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_the_forms_that_people_have() {
        let der = [b'0', 3, 2, 1, 9];
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&der));
        for text in [der.to_vec(), BASE64.encode(&der).into_bytes(), pem.into_bytes()] {
            assert_eq!(spki(&text).as_deref(), Some(&der[..]));
        }
        assert_eq!(spki(b""), None);
        assert_eq!(spki(b"no key"), None);
    }
}
