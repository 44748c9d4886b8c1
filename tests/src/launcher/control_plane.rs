//! Sets up and starts the control plane of the demo.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::layout::{FirstStart, Layout, write_private};
use super::program::{Binaries, output, to_stay};

/// The tenant that `init` makes.
const TENANT: &str = "default";

#[derive(Deserialize)]
struct InitAnswer {
    user: String,
    password: String,
}

/// An API client, as it is shown once.
#[derive(Clone, Deserialize)]
pub struct Client {
    /// OAuth2 client id.
    pub client_id: String,
    /// OAuth2 client secret.
    pub client_secret: String,
}

/// Makes the control plane's data, the first user, an API client and a push key.
///
/// The control plane will listen at `listen` and be reached by `names`.
///
/// # Errors
/// When the program refuses.
pub fn init(binaries: &Binaries, layout: &Layout, listen: SocketAddr, names: &[&str]) -> anyhow::Result<FirstStart> {
    let (dir, listen) = (layout.control_dir(), listen.to_string());
    let args = [
        Path::new("init"),
        "--data".as_ref(),
        &dir,
        "--listen".as_ref(),
        listen.as_ref(),
        "--tenant".as_ref(),
        TENANT.as_ref(),
        "--admin-listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--json".as_ref(),
    ];
    let names = names.iter().flat_map(|name| [Path::new("--name"), Path::new(name)]);
    let answer = output(&binaries.control, args.into_iter().chain(names))?;
    let admin: InitAnswer = serde_json::from_slice(&answer).context("`init` did not print the first sign-in")?;
    let client = create_client(binaries, layout, TENANT, "admin")?;
    let mut push_key = [0; 32];
    aws_lc_rs::rand::fill(&mut push_key).ok().context("no random numbers")?;
    Ok(FirstStart {
        admin_user: admin.user,
        admin_password: admin.password,
        client_id: client.client_id,
        client_secret: client.client_secret,
        tenant: TENANT.to_owned(),
        push_key: data_encoding::HEXLOWER.encode(&push_key),
    })
}

/// Makes an API client of `tenant`.
///
/// # Errors
/// When the control plane refuses.
pub fn create_client(binaries: &Binaries, layout: &Layout, tenant: &str, role: &str) -> anyhow::Result<Client> {
    let answer = command_line(binaries, layout, &["client", "create", "--tenant", tenant, "--role", role, "--json"])?;
    serde_json::from_slice(&answer).context("`client create` did not print a client")
}

/// Makes an enrolment token for a gateway of `tenant` and writes it to `out`.
///
/// # Errors
/// When the control plane refuses.
pub fn create_token(binaries: &Binaries, layout: &Layout, tenant: &str, name: &str, out: &Path) -> anyhow::Result<()> {
    let out = out.to_str().context("the path of the token is not UTF-8")?;
    command_line(binaries, layout, &["token", "create", "--tenant", tenant, "--gateway-name", name, "--out", out]).map(drop)
}

/// Runs one of the control plane's commands against its data.
///
/// # Errors
/// When the command fails.
pub fn command_line(binaries: &Binaries, layout: &Layout, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let config = layout.control_config();
    let args = args.iter().map(Path::new).chain([Path::new("--config"), &config]);
    output(&binaries.control, args)
}

/// Sets `key` in the control plane's configuration to `value`, written as TOML; it counts from the next start on.
///
/// # Errors
/// When the configuration cannot be read or written or has no such key.
pub fn set_value(layout: &Layout, key: &str, value: &str) -> anyhow::Result<()> {
    let path = layout.control_config();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    write_private(&path, with_value(&text, key, value).with_context(|| path.display().to_string())?.as_bytes())
}

fn with_value(text: &str, key: &str, value: &str) -> anyhow::Result<String> {
    let is_it = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let at = text.lines().position(is_it).with_context(|| format!("there is no line `{key} = …`"))?;
    let replace = |(number, line): (usize, &str)| if number == at { format!("{key} = {value}\n") } else { format!("{line}\n") };
    Ok(text.lines().enumerate().map(replace).collect())
}

/// Makes the command that starts the control plane.
///
/// # Errors
/// When the log cannot be opened.
pub fn serve(binaries: &Binaries, layout: &Layout) -> anyhow::Result<Command> {
    let mut command = to_stay(&binaries.control, &layout.log("control-plane"))?;
    command.arg("serve").arg("--config").arg(layout.control_config());
    Ok(command)
}

/// Says whether something listens at `address`.
pub fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_key_changes() {
        let text = "# listen = \"old\"\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n";
        let new = with_value(text, "listen", "\"127.0.0.1:9\"").unwrap();
        assert_eq!(new, "# listen = \"old\"\nlisten = \"127.0.0.1:9\"\nadmin_listen = \"127.0.0.1:2\"\n");
        assert!(with_value(text, "other", "1").is_err());
    }
}
