//! The site's last word, `veto.toml`: what no rule may release, what the broker may not do, which listeners stay shut.
//!
//! It is set once, with the first settings, and nothing on the appliance changes it after that.

use postern_protocol::revision::field::Field;
use serde::{Deserialize, Serialize};

const MAX_BYTES: usize = 16 * 1024;

/// Why a text is no veto.
#[derive(Debug, thiserror::Error)]
pub enum VetoError {
    /// A field that no event has.
    #[error("{0}")]
    Field(String),
    /// Longer than a veto may be.
    #[error("a veto has at most {MAX_BYTES} bytes")]
    Long,
    /// Not TOML, an unknown key, or a word that is not in the list.
    #[error("{0}")]
    Toml(String),
}

/// Something that the broker does and a site may forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forbidden {
    /// Changing the settings after the first ones.
    Apply,
    /// Erasing the data.
    FactoryReset,
    /// Switching the machine off.
    PowerOff,
    /// Starting it anew.
    Reboot,
    /// Switching SSH on.
    Ssh,
}

/// A listener that a site may keep shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// The agents' proxy and pushes, 3128.
    Proxy,
    /// SNMP traps and informs, 162/udp.
    SnmpTrap,
    /// Syslog over UDP and TCP, 514.
    Syslog,
    /// Syslog over TLS, 6514.
    SyslogTls,
}

impl Listener {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Proxy, Self::SnmpTrap, Self::Syslog, Self::SyslogTls];

    /// Returns its port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Proxy => 3128,
            Self::SnmpTrap => 162,
            Self::Syslog => 514,
            Self::SyslogTls => 6514,
        }
    }

    /// Returns the name as in `veto.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::SnmpTrap => "snmp_trap",
            Self::Syslog => "syslog",
            Self::SyslogTls => "syslog_tls",
        }
    }
}

/// A field of events that no rule may release, as in a rule's `from`; printable, without `"` and `\`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ForbiddenField(String);

impl ForbiddenField {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ForbiddenField {
    type Error = VetoError;

    fn try_from(text: String) -> Result<Self, VetoError> {
        let field: Field = text.parse().map_err(|error| VetoError::Field(format!("{error}")))?;
        let text = field.to_string();
        // It is written into the gateway's file between quotes.
        if !text.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\')) {
            return Err(VetoError::Field("the name of a field has only printable characters without '\"' and '\\'".to_owned()));
        }
        Ok(Self(text))
    }
}

impl From<ForbiddenField> for String {
    fn from(field: ForbiddenField) -> Self {
        field.0
    }
}

/// The site's veto; empty when none is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// Fields that no rule may release, as in a rule's `from`.
    pub forbidden_fields: Vec<ForbiddenField>,
    /// What the broker refuses to everyone.
    pub forbid: Vec<Forbidden>,
    /// Listeners that are never opened.
    pub listeners_off: Vec<Listener>,
}

impl Veto {
    /// Parses the text of `veto.toml`.
    ///
    /// # Errors
    /// [`VetoError`].
    pub fn parse(text: &str) -> Result<Self, VetoError> {
        if text.len() > MAX_BYTES {
            return Err(VetoError::Long);
        }
        let raw: RawVeto = toml::from_str(text).map_err(|error| VetoError::Toml(error.to_string().trim_end().to_owned()))?;
        Ok(Self { forbidden_fields: raw.veto.forbidden_fields, forbid: raw.appliance.forbid, listeners_off: raw.appliance.listeners_off })
    }
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVeto {
    /// Against rules: handed to the gateway.
    #[serde(default)]
    veto: RawRules,
    /// Against the broker.
    #[serde(default)]
    appliance: RawAppliance,
}

/// `[veto]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    /// Fields that no rule may release (default none).
    #[serde(default)]
    forbidden_fields: Vec<ForbiddenField>,
}

/// `[appliance]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAppliance {
    /// Verbs that are refused to everyone (default none).
    #[serde(default)]
    forbid: Vec<Forbidden>,
    /// Listeners that stay shut (default none).
    #[serde(default)]
    listeners_off: Vec<Listener>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_veto_names_fields_verbs_and_listeners() {
        let veto = Veto::parse(
            "[veto]\nforbidden_fields = [\"message\"]\n[appliance]\nforbid = [\"ssh\", \"apply\"]\nlisteners_off = [\"proxy\"]\n",
        );
        let veto = veto.unwrap();
        assert_eq!(veto.forbidden_fields[0].as_str(), "message");
        assert_eq!(veto.forbid, [Forbidden::Ssh, Forbidden::Apply]);
        assert_eq!(veto.listeners_off, [Listener::Proxy]);
        assert_eq!(Veto::parse("").unwrap(), Veto::default());
    }

    #[test]
    fn what_is_not_in_the_lists_is_refused() {
        for text in [
            "x = 1",
            "[appliance]\nforbid = [\"status\"]",
            "[appliance]\nlisteners_off = [\"ssh\"]",
            "[veto]\nforbidden_fields = ['capture:a\"b']",
            "[veto]\nforbidden_fields = [\"shoe size\"]",
        ] {
            assert!(Veto::parse(text).is_err(), "{text}");
        }
        assert!(matches!(Veto::parse(&" ".repeat(MAX_BYTES + 1)), Err(VetoError::Long)));
    }
}
