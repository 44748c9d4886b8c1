//! Our own SNMP engine: its ID and snmpEngineBoots, in one small file, counted up durably at each start.
//!
//! Senders of informs authenticate against these (RFC 3414 §2.2): boots that ever went back would let recorded informs in again.
//! So the number is on the disk before a socket is served, and what cannot be read leads to another engine, never to other boots
//! of the same one. Called once, before the sandbox closes: inside it the file can only be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use postern_engine::snmp::engine_id::EngineId;
use postern_protocol::status::intake::SnmpEngine;
use serde::{Deserialize, Serialize};

/// Where snmpEngineBoots ends: an engine that got there takes nothing any more (RFC 3414 §2.2.3).
const LATCHED: u32 = 2_147_483_647;

/// The first five octets (RFC 3411 §5): the enterprise number that RFC 5612 sets aside for documentation with the first bit
/// set, and format 5, octets of our own choice. Random ones follow.
const PREFIX: [u8; 5] = [0x80, 0x00, 0x7e, 0xd9, 0x05];

/// Random octets of a new engine ID.
const RANDOM_BYTES: usize = 8;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnEngineError {
    /// The file cannot be read or replaced.
    #[error("cannot access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

/// The engine for this start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnEngine {
    /// snmpEngineID.
    pub(crate) id: EngineId,
    /// snmpEngineBoots, never used before with this ID.
    pub(crate) boots: u32,
    /// Random: where the salts of privacy begin (RFC 3414 §8.1.1.1).
    pub(crate) salt: u64,
    /// Set when it is another engine than at the last start: what happened, for a report.
    pub(crate) warning: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    engine_id: String,
    boots: u32,
}

impl OwnEngine {
    /// Reads the engine from `path`, counts its boots up, and makes that durable; makes a new engine where there is none, where
    /// the file is damaged, and where the boots are used up.
    ///
    /// # Errors
    /// [`OwnEngineError`].
    pub(crate) fn start(path: &Path) -> Result<Self, OwnEngineError> {
        let file = |cause| OwnEngineError::File { path: path.to_owned(), cause };
        let next = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::new(None)?,
            Err(error) => return Err(file(error)),
            Ok(content) => match decode(&content) {
                None => Self::new(Some(format!("{} was damaged", path.display())))?,
                Some((_, boots)) if boots.saturating_add(1) >= LATCHED => Self::new(Some("its snmpEngineBoots were used up".to_owned()))?,
                Some((id, boots)) => Self { id, boots: boots.saturating_add(1), salt: u64::from_be_bytes(random()?), warning: None },
            },
        };
        if let Some(warning) = &next.warning {
            tracing::warn!(engine_id = %next.id, warning, "a new SNMP engine");
        }
        write(path, &next).map_err(file)?;
        Ok(next)
    }

    fn new(reason: Option<String>) -> Result<Self, OwnEngineError> {
        let own = random::<RANDOM_BYTES>()?;
        let id = EngineId::new(&[&PREFIX[..], &own].concat()).map_err(|_| OwnEngineError::Random)?;
        let warning = reason.map(|reason| {
            format!(
                "this gateway has a new SNMP engine ID, because {reason}: senders of informs find it \
                 by themselves, but where it was entered by hand it must be changed"
            )
        });
        Ok(Self { id, boots: 1, salt: u64::from_be_bytes(random()?), warning })
    }
}

impl From<&OwnEngine> for SnmpEngine {
    fn from(own: &OwnEngine) -> Self {
        Self { engine_id: own.id.to_string(), boots: own.boots }
    }
}

fn decode(content: &[u8]) -> Option<(EngineId, u32)> {
    let stored: Stored = serde_json::from_slice(content).ok()?;
    let id = stored.engine_id.parse().ok()?;
    (stored.boots > 0).then_some((id, stored.boots))
}

fn random<const N: usize>() -> Result<[u8; N], OwnEngineError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OwnEngineError::Random)?;
    Ok(bytes)
}

fn write(path: &Path, engine: &OwnEngine) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Stored { engine_id: engine.id.to_string(), boots: engine.boots })?;
    let staged = path.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    out.write_all(&text)?;
    out.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snmp-engine.json");
        (dir, path)
    }

    #[test]
    fn boots_grow_with_each_start_and_the_engine_stays() {
        let (_dir, path) = file();
        let first = OwnEngine::start(&path).unwrap();
        assert_eq!((first.boots, first.id.as_bytes().len(), first.id.to_string().starts_with("80007ed905")), (1, 13, true));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for boots in 2..5 {
            let next = OwnEngine::start(&path).unwrap();
            assert_eq!((next.id, next.boots, next.warning), (first.id, boots, None));
            assert_ne!(next.salt, first.salt);
        }
    }

    #[test]
    fn a_damaged_file_makes_another_engine_and_a_warning() {
        let (_dir, path) = file();
        let first = OwnEngine::start(&path).unwrap();
        let id = first.id;
        for damaged in
            [String::new(), "{}".into(), format!("{{\"engine_id\":\"{id}\",\"boots\":0}}"), "{\"engine_id\":\"80\",\"boots\":1}".into()]
        {
            fs::write(&path, damaged).unwrap();
            let other = OwnEngine::start(&path).unwrap();
            assert_ne!(other.id, first.id);
            assert!(other.warning.unwrap().contains("was damaged"));
        }
    }

    #[test]
    fn used_up_boots_make_another_engine() {
        let (_dir, path) = file();
        let first = OwnEngine::start(&path).unwrap();
        fs::write(&path, format!("{{\"engine_id\":\"{}\",\"boots\":{}}}", first.id, LATCHED - 2)).unwrap();
        assert_eq!(OwnEngine::start(&path).unwrap().boots, LATCHED - 1);
        let other = OwnEngine::start(&path).unwrap();
        assert_eq!((other.boots, other.id == first.id), (1, false));
        assert!(other.warning.unwrap().contains("used up"));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_keeps_the_daemon_from_starting() {
        assert!(OwnEngine::start(Path::new("/nowhere/snmp-engine.json")).is_err());
    }
}
