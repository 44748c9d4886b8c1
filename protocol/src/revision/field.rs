//! Selectors: the closed list of what a rule can release, and which kind of event has it.
//!
//! Anything that is not a [`Field`] cannot leave a site. The engine looks the values up; nothing here sees an event.

use std::fmt;
use std::str::FromStr;

use super::document::{Matcher, Release};
use crate::oid::{Oid, OidError};

/// Stands between the alternatives of a release's `from`.
pub const SEPARATOR: &str = " | ";

/// Most alternatives in one `from`.
pub const MAX_ALTERNATIVES: usize = 8;

/// Most bytes in the name of a capture, a structured-data element or parameter, or a pushed field.
pub const MAX_NAME_BYTES: usize = 64;

/// One field of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A named group of the rule's regular expression.
    Capture(String),
    /// Keyword of the syslog facility.
    Facility,
    /// A further field of a pushed event, or of a syslog line whose vendor writes fields.
    Further(String),
    /// HOSTNAME of the syslog header.
    Host,
    /// The group that the sender belongs to, as `sources` says.
    Group,
    /// What follows this OID in the name of the first varbind at or below it.
    Index(Oid),
    /// Kind of a pushed event.
    Kind,
    /// What a table of the document has for the text of another field.
    Lookup {
        /// Name of the table.
        table: String,
        /// The field; never a lookup itself.
        of: Box<Self>,
    },
    /// MSG of a syslog message.
    Message,
    /// MSGID of a syslog message.
    Msgid,
    /// The name of the first varbind at or below this OID, in its module's words: `ifOperStatus.7`.
    Name(Oid),
    /// Name and value of that varbind: `ifOperStatus.7 = down(2)`.
    Named(Oid),
    /// Who looks after the sender, as `sources` says.
    Owner,
    /// Address of the sender.
    Peer,
    /// PROCID of a syslog message.
    Pid,
    /// APP-NAME or TAG of a syslog message.
    Program,
    /// Qualifier of a pushed event.
    Qualifier,
    /// Resource of a pushed event.
    Resource,
    /// Keyword of the syslog severity, or the pushed event's severity.
    Severity,
    /// Where the sender is, as `sources` says.
    Site,
    /// The sender by the best name there is: push key, syslog host, or address.
    Source,
    /// What `sources` calls the sender.
    SourceName,
    /// A parameter of a structured-data element (RFC 5424 §6.3).
    StructuredData {
        /// SD-ID.
        id: String,
        /// PARAM-NAME.
        param: String,
    },
    /// Summary of a pushed event.
    Summary,
    /// The sender's tags, as `sources` says, with `, ` between them.
    Tags,
    /// `udp`, `tcp` or `tls`.
    Transport,
    /// The notification's name, when the dictionary has it.
    TrapName,
    /// The notification's OID.
    TrapOid,
    /// The value of the first varbind at or below this OID, in its module's words: `down(2)`.
    Value(Oid),
    /// The value of the first varbind at or below this OID.
    Varbind(Oid),
}

/// The kind of event that a matcher is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Pushed over HTTP.
    Push,
    /// A syslog message.
    Syslog,
    /// An SNMP notification.
    Trap,
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// More than [`MAX_ALTERNATIVES`] alternatives.
    #[error("at most {MAX_ALTERNATIVES} alternatives are possible")]
    Alternatives,
    /// A name that is empty or longer than [`MAX_NAME_BYTES`].
    #[error("the name in {0:?} must have 1 to {MAX_NAME_BYTES} bytes")]
    Name(String),
    /// The OID is none.
    #[error("the OID in {0:?} is not valid: {1}")]
    Oid(String, OidError),
    /// A lookup without a table's name or a field, or of a lookup.
    #[error("{0:?} does not have the form lookup:TABLE:FIELD, where FIELD is no lookup itself")]
    Lookup(String),
    /// A structured-data selector without a parameter.
    #[error("{0:?} does not have the form sd:ID.PARAM")]
    StructuredData(String),
    /// No such selector.
    #[error(
        "there is no field {0:?}: any event has source, source_name, site, owner, group, tags, peer, transport, lookup:TABLE:FIELD; a trap trap_name, trap_oid, varbind:OID, index:OID, name:OID, \
         value:OID, named:OID; a syslog message facility, \
         severity, program, host, pid, msgid, message, capture:NAME, field:NAME, sd:ID.PARAM; a push resource, kind, qualifier, severity, summary, field:NAME"
    )]
    Unknown(String),
}

impl EventKind {
    /// Returns the kind that `matcher` is for.
    pub const fn of(matcher: &Matcher) -> Self {
        match matcher {
            Matcher::Push(_) => Self::Push,
            Matcher::Syslog(_) => Self::Syslog,
            Matcher::Trap(_) => Self::Trap,
        }
    }

    /// Returns the name that the kind has in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Syslog => "syslog",
            Self::Trap => "trap",
        }
    }
}

impl Field {
    /// Returns whether events of `kind` can have the field.
    pub fn applies_to(&self, kind: EventKind) -> bool {
        match self {
            Self::Group | Self::Owner | Self::Peer | Self::Site | Self::Source | Self::SourceName | Self::Tags | Self::Transport => true,
            Self::Lookup { of, .. } => of.applies_to(kind),
            Self::Capture(_) | Self::Facility | Self::Host | Self::Message | Self::Msgid | Self::Pid | Self::Program => {
                matches!(kind, EventKind::Syslog)
            }
            Self::StructuredData { .. } => matches!(kind, EventKind::Syslog),
            Self::Index(_) | Self::Name(_) | Self::Named(_) | Self::TrapName | Self::TrapOid | Self::Value(_) | Self::Varbind(_) => {
                matches!(kind, EventKind::Trap)
            }
            Self::Kind | Self::Qualifier | Self::Resource | Self::Summary => matches!(kind, EventKind::Push),
            Self::Further(_) | Self::Severity => matches!(kind, EventKind::Push | EventKind::Syslog),
        }
    }
}

impl Release {
    /// Returns the fields that the release called `name` takes: the first of them that the event has is the value.
    ///
    /// # Errors
    /// [`FieldError`] when its `from` (or its name, when there is none) is not a list of selectors.
    pub fn fields(&self, name: &str) -> Result<Vec<Field>, FieldError> {
        let fields = self.from.as_deref().unwrap_or(name).split(SEPARATOR).map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if fields.len() > MAX_ALTERNATIVES {
            return Err(FieldError::Alternatives);
        }
        Ok(fields)
    }
}

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let oid = |oid: &str| oid.parse::<Oid>().map_err(|error| FieldError::Oid(shown(text), error));
        let name = |name: &str| match name.len() {
            1..=MAX_NAME_BYTES => Ok(name.to_owned()),
            _ => Err(FieldError::Name(shown(text))),
        };
        Ok(match text.split_once(':') {
            Some(("capture", group)) => Self::Capture(name(group)?),
            Some(("field", field)) => Self::Further(name(field)?),
            Some(("index", of)) => Self::Index(oid(of)?),
            Some(("lookup", path)) => {
                let fault = || FieldError::Lookup(shown(text));
                let (table, of) = path.split_once(':').filter(|(table, _)| is_table_name(table)).ok_or_else(fault)?;
                match of.parse()? {
                    Self::Lookup { .. } => return Err(fault()),
                    of => Self::Lookup { table: table.to_owned(), of: Box::new(of) },
                }
            }
            Some(("sd", path)) => {
                // An SD-ID may hold dots (`x@32473.1`), a parameter hardly does: the last dot divides them.
                let (id, param) = path.rsplit_once('.').ok_or_else(|| FieldError::StructuredData(shown(text)))?;
                Self::StructuredData { id: name(id)?, param: name(param)? }
            }
            Some(("name", of)) => Self::Name(oid(of)?),
            Some(("named", of)) => Self::Named(oid(of)?),
            Some(("value", of)) => Self::Value(oid(of)?),
            Some(("varbind", of)) => Self::Varbind(oid(of)?),
            Some(_) => return Err(FieldError::Unknown(shown(text))),
            None => match text {
                "facility" => Self::Facility,
                "group" => Self::Group,
                "tags" => Self::Tags,
                "source_name" => Self::SourceName,
                "site" => Self::Site,
                "owner" => Self::Owner,
                "host" => Self::Host,
                "kind" => Self::Kind,
                "message" => Self::Message,
                "msgid" => Self::Msgid,
                "peer" => Self::Peer,
                "pid" => Self::Pid,
                "program" => Self::Program,
                "qualifier" => Self::Qualifier,
                "resource" => Self::Resource,
                "severity" => Self::Severity,
                "source" => Self::Source,
                "summary" => Self::Summary,
                "transport" => Self::Transport,
                "trap_name" => Self::TrapName,
                "trap_oid" => Self::TrapOid,
                _ => return Err(FieldError::Unknown(shown(text))),
            },
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(name) => write!(f, "capture:{name}"),
            Self::Facility => f.write_str("facility"),
            Self::Group => f.write_str("group"),
            Self::Lookup { table, of } => write!(f, "lookup:{table}:{of}"),
            Self::Owner => f.write_str("owner"),
            Self::Site => f.write_str("site"),
            Self::SourceName => f.write_str("source_name"),
            Self::Tags => f.write_str("tags"),
            Self::Host => f.write_str("host"),
            Self::Index(oid) => write!(f, "index:{oid}"),
            Self::Kind => f.write_str("kind"),
            Self::Message => f.write_str("message"),
            Self::Msgid => f.write_str("msgid"),
            Self::Name(oid) => write!(f, "name:{oid}"),
            Self::Named(oid) => write!(f, "named:{oid}"),
            Self::Peer => f.write_str("peer"),
            Self::Pid => f.write_str("pid"),
            Self::Program => f.write_str("program"),
            Self::Further(name) => write!(f, "field:{name}"),
            Self::Qualifier => f.write_str("qualifier"),
            Self::Resource => f.write_str("resource"),
            Self::Severity => f.write_str("severity"),
            Self::Source => f.write_str("source"),
            Self::StructuredData { id, param } => write!(f, "sd:{id}.{param}"),
            Self::Summary => f.write_str("summary"),
            Self::Transport => f.write_str("transport"),
            Self::TrapName => f.write_str("trap_name"),
            Self::TrapOid => f.write_str("trap_oid"),
            Self::Value(oid) => write!(f, "value:{oid}"),
            Self::Varbind(oid) => write!(f, "varbind:{oid}"),
        }
    }
}

/// Returns whether `text` can name a lookup table.
pub fn is_table_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Cuts what an error repeats, so that a huge text does not become a huge error.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_they_were_read() {
        for text in [
            "source",
            "trap_oid",
            "trap_name",
            "varbind:1.3.6.1",
            "index:1.3.6.1.2",
            "name:1.3",
            "named:1.3.6",
            "value:1.3.7",
            "capture:ip",
            "sd:x@32473.1.param",
            "field:disk",
            "lookup:sites:source",
            "lookup:if-names:varbind:1.3.6.1",
            "source_name",
            "site",
            "owner",
            "group",
            "tags",
            "summary",
        ] {
            assert_eq!(text.parse::<Field>().unwrap().to_string(), text);
        }
        let Field::StructuredData { id, param } = "sd:x@32473.1.param".parse().unwrap() else { panic!("not structured data") };
        assert_eq!((id.as_str(), param.as_str()), ("x@32473.1", "param"));
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for text in [
            "",
            "Source",
            "community",
            "varbind:",
            "varbind:1",
            "capture:",
            "sd:x",
            "sd:.p",
            "field:",
            "xyz:1",
            "lookup:x",
            "lookup:X:host",
            "lookup:a:lookup:b:host",
        ] {
            assert!(text.parse::<Field>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn alternatives_are_tried_in_order_and_counted() {
        let release = |from: &str| Release { from: Some(from.to_owned()), max_bytes: 1 };
        assert_eq!(release("host | peer").fields("x"), Ok(vec![Field::Host, Field::Peer]));
        assert_eq!(release(&["host"; 9].join(SEPARATOR)).fields("x"), Err(FieldError::Alternatives));
        assert_eq!(Release { from: None, max_bytes: 1 }.fields("host"), Ok(vec![Field::Host]));
    }

    #[test]
    fn each_kind_of_event_has_its_own_fields() {
        assert!(Field::Severity.applies_to(EventKind::Syslog) && !Field::Severity.applies_to(EventKind::Trap));
        assert!(Field::Source.applies_to(EventKind::Trap) && !Field::Message.applies_to(EventKind::Push));
    }
}
