//! `init`: makes the data of a new control plane. It refuses a folder that holds anything.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use postern_protocol::id::TenantId;
use serde::Serialize;

use super::CliError;
use super::print::Form;
use crate::auth::Role;
use crate::auth::users;
use crate::ca::CertificateAuthority;
use crate::clock;
use crate::config::{self, Config, DEFAULT_ADMIN_LISTEN};
use crate::key_file;
use crate::server_name::ServerName;
use crate::signer::Signer;
use crate::store::Stores;
use crate::tls::{self, ServerConfigs};
use crate::trust::Trust;

/// Name of the first user.
const FIRST_USER: &str = "admin";

#[derive(Args)]
pub(super) struct Init {
    /// Folder for keys and databases; it must be empty or absent.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Address and port of console, API and tunnel; port 0 takes a free one at each start.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Address and port of /healthz, /readyz and /metrics; a loopback address.
    #[arg(long, default_value = DEFAULT_ADMIN_LISTEN)]
    admin_listen: SocketAddr,
    /// Host name or address by which browsers and gateways reach it; repeat it for more.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<ServerName>,
    /// Identifier of the first tenant.
    #[arg(long, default_value = "default")]
    tenant: TenantId,
    /// Seconds without a session after which a gateway counts as unreachable.
    #[arg(long, default_value_t = 60)]
    unreachable_after_s: u64,
    #[command(flatten)]
    form: Form,
}

/// What `init` prints: the only time that the password is shown.
#[derive(Serialize)]
struct Made {
    user: &'static str,
    password: String,
    console: String,
    config: PathBuf,
    ca: PathBuf,
}

pub(super) async fn run(init: Init) -> Result<(), CliError> {
    let now = clock::now();
    let (text, names) = document(&init);
    // Checked before anything is written.
    let raw = toml::from_str(&text).map_err(|error| CliError::Usage(error.to_string()))?;
    let folder = absolute(&init.data)?;
    let config = Config::resolve(raw, &folder)?;
    make_folder(&folder)?;
    let keys = config.keys();
    key_file::create_folder(&keys)?;
    CertificateAuthority::create(&keys, "ca", now)?;
    tls::create_keys(&keys)?;
    Signer::create(&keys.join("revision.key"))?;
    ServerConfigs::load(&keys, &Trust::load(&keys)?, &config.names, now)?;
    let stores = Stores::open(&folder)?;
    stores.create_tenant(&init.tenant, init.tenant.as_str(), now).await?;
    let password = users::create_user(stores.system(), FIRST_USER, &init.tenant, Role::Admin, now).await?;
    stores.deliver_notes(&init.tenant).await?;
    let path = folder.join("control.toml");
    key_file::create(&path, text.as_bytes())?;
    let console = console(names.first(), init.listen);
    let made = Made { user: FIRST_USER, password, console, config: path, ca: keys.join("ca.pem") };
    init.form.print(&made, |made| {
        vec![
            format!("The control plane's data is in {}.", folder.display()),
            format!("Start it:   postern-control serve --config {}", made.config.display()),
            format!("Console:    {}", made.console),
            format!("Its CA:     {}", made.ca.display()),
            format!("First user: {}", made.user),
            format!("Password:   {}   (shown only now; it must be changed at the first sign-in)", made.password),
        ]
    })
}

/// Writes the configuration; every name is one that [`ServerName`] took, so that none needs escaping.
fn document(init: &Init) -> (String, Vec<ServerName>) {
    let mut names = init.names.clone();
    if names.is_empty() {
        names.push(ServerName::Dns("localhost".to_owned()));
    }
    let ip = init.listen.ip();
    if !ip.is_unspecified() && !names.contains(&ServerName::Ip(ip)) {
        names.push(ServerName::Ip(ip));
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let text = format!(
        "# Console, API, enrolment and tunnel: one port.\n\
         listen = \"{}\"\n\
         # /healthz, /readyz and /metrics, plain HTTP for this machine only.\n\
         admin_listen = \"{}\"\n\
         # Host names and addresses in our certificates; they are issued anew when this changes.\n\
         names = [{}]\n\
         # Seconds for which a gateway's certificate is good: it is renewed when two thirds are over.\n\
         client_certificate_life_s = {}\n\
         # Seconds after its end in which a gateway that was off may still renew it by itself; later an admin has to allow it.\n\
         renew_expired_within_s = {}\n\
         # Seconds without a session after which a gateway counts as unreachable.\n\
         unreachable_after_s = {}\n",
        init.listen,
        init.admin_listen,
        quoted.join(", "),
        config::MONTH_S,
        config::MONTH_S,
        init.unreachable_after_s
    );
    (text, names)
}

fn console(name: Option<&ServerName>, listen: SocketAddr) -> String {
    let host = match name {
        Some(ServerName::Ip(ip)) => SocketAddr::new(*ip, listen.port()).to_string(),
        Some(ServerName::Dns(name)) => format!("{name}:{}", listen.port()),
        None => listen.to_string(),
    };
    format!("https://{host}")
}

fn absolute(folder: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(folder).map_err(|source| CliError::File { path: folder.to_owned(), source })
}

fn make_folder(folder: &Path) -> Result<(), CliError> {
    let fail = |source| CliError::File { path: folder.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    if std::fs::read_dir(folder).map_err(fail)?.next().is_some() {
        return Err(CliError::Usage(format!("{} is not empty; a control plane may live there already", folder.display())));
    }
    Ok(())
}
