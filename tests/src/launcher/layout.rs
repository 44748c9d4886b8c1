//! Where the demo keeps its files, and what it remembers from its first start.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Paths of one demo.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Names the files of the demo whose data is in `root`, an absolute path.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The control plane's data.
    pub fn control_dir(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// The control plane's configuration.
    pub fn control_config(&self) -> PathBuf {
        self.control_dir().join("control.toml")
    }

    /// The gateway's data.
    pub fn gateway_dir(&self) -> PathBuf {
        self.root.join("gateway")
    }

    /// The gateway's configuration.
    pub fn gateway_config(&self) -> PathBuf {
        self.root.join("gateway.toml")
    }

    /// The key that signs pushes.
    pub fn push_key(&self) -> PathBuf {
        self.root.join("push.key")
    }

    /// The certificate authority of the demo's control plane, PEM.
    pub fn ca(&self) -> PathBuf {
        self.control_dir().join("keys/ca.pem")
    }

    /// What people and tests read.
    pub fn demo(&self) -> PathBuf {
        self.root.join("demo.json")
    }

    /// The log of one program.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.log"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("demo.lock")
    }

    fn first_start(&self) -> PathBuf {
        self.root.join("first-start.json")
    }

    /// Makes the directory that holds everything.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> anyhow::Result<()> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.with_context(|| format!("cannot create {}", self.root.display()))
    }

    pub(crate) fn remove_stale_demo(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.demo()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the old {}", self.demo().display()))
            }
            _ => Ok(()),
        }
    }
}

/// Returns `$POSTERN_DATA`, or `.run` in the working directory, as an absolute path.
///
/// # Errors
/// When the working directory is gone.
pub fn data_dir() -> anyhow::Result<PathBuf> {
    let chosen = std::env::var_os("POSTERN_DATA").filter(|value| !value.is_empty()).map_or_else(|| PathBuf::from(".run"), PathBuf::from);
    std::path::absolute(&chosen).with_context(|| format!("cannot tell where {} is", chosen.display()))
}

/// What only the first start can know: secrets that the programs show once.
#[derive(Clone, Serialize, Deserialize)]
pub struct FirstStart {
    /// Name of the first user.
    pub admin_user: String,
    /// First password; to be changed at the first sign-in.
    pub admin_password: String,
    /// API client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The first tenant.
    pub tenant: String,
    /// Signs pushes.
    pub push_key: String,
}

impl FirstStart {
    /// Reads what the first start wrote; `None` before it.
    pub(crate) fn load(layout: &Layout) -> anyhow::Result<Option<Self>> {
        let path = layout.first_start();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                anyhow::ensure!(
                    !layout.control_dir().exists(),
                    "{} was set up only in part, or by something else: remove it, or set POSTERN_DATA to another directory",
                    layout.root().display()
                );
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    pub(crate) fn save(&self, layout: &Layout) -> anyhow::Result<()> {
        write_private(&layout.push_key(), self.push_key.as_bytes())?;
        write_private(&layout.first_start(), &serde_json::to_vec_pretty(self)?)
    }
}

/// Replaces `path` by `bytes` in one step; only the owner can read it.
///
/// # Errors
/// When the file cannot be written or renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
