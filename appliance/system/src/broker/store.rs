//! What the site set, on the disk: settings, veto, token, the end of first boot, and what became of enrolment.

use serde::{Deserialize, Serialize};

use super::paths::Paths;
use super::people::People;
use crate::files::{Access, Dir, FileError, read_foreign};
use crate::secret::Secret;
use crate::settings::{KEYS, Settings};
use crate::verb::{Enrolment, FirstbootReport, MAX_LINE_BYTES};
use crate::veto::Veto;

const SETTINGS: &str = "settings.json";
const VETO: &str = "veto.toml";
const TOKEN: &str = "token";
const DONE: &str = "firstboot.done";
const REFUSAL: &str = "enrolment-refused.json";
const REPORT: &str = "firstboot.json";
const MAX_BYTES: u64 = 64 * 1024;

/// What is kept, as far as it can be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) settings: Settings,
    pub(crate) veto: KeptVeto,
    /// What cannot be used, and why.
    pub(crate) damage: Option<String>,
}

/// The site's veto on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeptVeto {
    /// It cannot be read: everything counts as forbidden.
    Damaged,
    /// None was ever set.
    #[default]
    None,
    /// It is in force.
    Set(Veto),
}

impl KeptVeto {
    /// Returns what is in force; `None` when that is unknown.
    pub(crate) fn in_force(&self) -> Option<Veto> {
        match self {
            Self::Damaged => None,
            Self::None => Some(Veto::default()),
            Self::Set(veto) => Some(veto.clone()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    reason: String,
}

/// The directories.
pub(crate) struct Store {
    paths: Paths,
    state: Dir,
}

impl Store {
    /// Opens the directory of what the site set.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn open(paths: &Paths) -> Result<Self, FileError> {
        Ok(Self { paths: paths.clone(), state: Dir::open(&paths.state())? })
    }

    /// Reads settings and veto. What cannot be used counts as default (settings) or as forbidding everything (veto).
    pub(crate) fn load(&self) -> Kept {
        let mut kept = Kept::default();
        let mut damage = Vec::new();
        match self.state.read_text(SETTINGS, MAX_BYTES) {
            Ok(None) => {}
            Ok(Some(text)) => match settings(&text) {
                Ok((settings, foreign)) => {
                    kept.settings = settings;
                    damage.extend(foreign.iter().map(|key| format!("{SETTINGS}: {key} is of another version and was left out")));
                }
                Err(error) => damage.push(format!("{SETTINGS}: {error}")),
            },
            Err(error) => damage.push(error.to_string()),
        }
        match self.state.read_text(VETO, MAX_BYTES) {
            Ok(None) => {}
            Ok(Some(text)) => match Veto::parse(&text) {
                Ok(veto) => kept.veto = KeptVeto::Set(veto),
                Err(error) => {
                    damage.push(format!("{VETO}: {error}"));
                    kept.veto = KeptVeto::Damaged;
                }
            },
            Err(error) => {
                damage.push(error.to_string());
                kept.veto = KeptVeto::Damaged;
            }
        }
        kept.damage = (!damage.is_empty()).then(|| damage.join("; "));
        kept
    }

    /// Keeps settings.
    ///
    /// # Errors
    /// [`FileError`]; then the old ones are kept.
    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), FileError> {
        self.state.write(SETTINGS, &json(settings), Access::PRIVATE)
    }

    /// Keeps the text of a veto.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn save_veto(&self, text: &str) -> Result<(), FileError> {
        self.state.write(VETO, text.as_bytes(), Access::PUBLIC)
    }

    /// Removes a veto that was written in the same request, when the rest of it failed.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn take_back_veto(&self) -> Result<(), FileError> {
        self.state.remove(VETO)
    }

    /// Keeps the enrolment token where the gateway reads it, and forgets an earlier refusal.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn save_token(&self, token: &Secret, people: &People) -> Result<(), FileError> {
        self.state.remove(REFUSAL)?;
        let access = Access { mode: 0o600, owner: Some((people.gateway, people.gateway_group)) };
        self.state.write(TOKEN, token.expose().as_bytes(), access)
    }

    /// Overwrites and removes the token; none is fine.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn erase_token(&self) -> Result<(), FileError> {
        self.state.erase(TOKEN)
    }

    /// Keeps why the token was refused.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn save_refusal(&self, reason: &str) -> Result<(), FileError> {
        self.state.write(REFUSAL, &json(&Refusal { reason: reason.to_owned() }), Access::PRIVATE)
    }

    /// Tells how far enrolment is.
    pub(crate) fn enrolment(&self) -> Enrolment {
        if self.is_enrolled() {
            return Enrolment::Enrolled {};
        }
        if self.state.has(TOKEN) {
            return Enrolment::Pending {};
        }
        let refusal = self.state.read_text(REFUSAL, MAX_BYTES).ok().flatten();
        match refusal.and_then(|text| serde_json::from_str::<Refusal>(&text).ok()) {
            Some(refusal) => Enrolment::Refused { reason: refusal.reason },
            None => Enrolment::NoToken {},
        }
    }

    /// Tells whether the gateway has its identity. That is the gateway's own directory: its existence is all that is looked at.
    pub(crate) fn is_enrolled(&self) -> bool {
        self.paths.identity().symlink_metadata().is_ok()
    }

    /// Tells whether first boot is over.
    pub(crate) fn is_firstboot_done(&self) -> bool {
        self.state.has(DONE)
    }

    /// Ends first boot for good.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn end_firstboot(&self) -> Result<(), FileError> {
        if self.is_firstboot_done() { Ok(()) } else { self.state.write(DONE, b"", Access::PUBLIC) }
    }

    /// Shows what first boot did.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn save_report(&self, report: &FirstbootReport) -> Result<(), FileError> {
        Dir::open(&self.paths.run())?.write(REPORT, &json(report), Access::PUBLIC)
    }

    /// Returns what first boot did since the machine started.
    pub(crate) fn report(&self) -> Option<FirstbootReport> {
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        serde_json::from_str(&read_foreign(&self.paths.run().join(REPORT), most)?).ok()
    }
}

/// Reads settings, and which keys no setting of this version has. A newer version in the other slot may have written them: a machine
/// that falls back must keep its address.
fn settings(text: &str) -> Result<(Settings, Vec<String>), serde_json::Error> {
    let mut keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    let foreign: Vec<String> = keys.keys().filter(|key| !KEYS.contains(&key.as_str())).cloned().collect();
    keys.retain(|key, _| KEYS.contains(&key.as_str()));
    Ok((serde_json::from_value(keys.into())?, foreign))
}

/// Types of this crate whose keys are strings: writing them cannot fail.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        for dir in [paths.state(), paths.run(), paths.identity().parent().unwrap().to_owned()] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let store = Store::open(&paths).unwrap();
        (dir, store)
    }

    #[test]
    fn damaged_settings_count_as_default_and_a_damaged_veto_forbids_all() {
        let (_dir, store) = store();
        assert!(store.load().damage.is_none());
        store.state.write(SETTINGS, b"{\"hostname\": \"a", Access::PRIVATE).unwrap();
        store.state.write(VETO, b"[appliance]\nforbid = [\"everything\"]", Access::PUBLIC).unwrap();
        let kept = store.load();
        assert_eq!((kept.settings, kept.veto.in_force()), (Settings::default(), None));
        let damage = kept.damage.unwrap();
        assert!(damage.contains("settings.json") && damage.contains("veto.toml"), "{damage}");
    }

    #[test]
    fn settings_that_a_newer_version_wrote_keep_what_this_one_knows() {
        let (_dir, store) = store();
        let text = br#"{"hostname": "gw1", "address": "192.0.2.10/24", "vlan": "7"}"#;
        store.state.write(SETTINGS, text, Access::PRIVATE).unwrap();
        let kept = store.load();
        assert_eq!(kept.settings, serde_json::from_str(r#"{"hostname": "gw1", "address": "192.0.2.10/24"}"#).unwrap());
        assert_eq!(kept.damage.unwrap(), "settings.json: vlan is of another version and was left out");
    }

    #[test]
    fn enrolment_goes_from_a_token_to_an_identity_or_a_refusal() {
        let (_dir, store) = store();
        let me = nix::unistd::geteuid().as_raw();
        let people =
            People { gateway: me, gateway_group: nix::unistd::getegid().as_raw(), firstboot: 1, console: 2, admin: 3, timesync: 4 };
        assert_eq!(store.enrolment(), Enrolment::NoToken {});
        store.save_token(&Secret::new("postern1.x".into()), &people).unwrap();
        assert_eq!(store.enrolment(), Enrolment::Pending {});
        store.erase_token().unwrap();
        store.save_refusal("used").unwrap();
        assert_eq!(store.enrolment(), Enrolment::Refused { reason: "used".into() });
        store.save_token(&Secret::new("postern1.y".into()), &people).unwrap();
        assert_eq!(store.enrolment(), Enrolment::Pending {});
        std::fs::write(store.paths.identity(), "").unwrap();
        assert_eq!(store.enrolment(), Enrolment::Enrolled {});
    }
}
