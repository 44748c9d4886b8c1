//! One normalised trap, syslog line or push: raw, local, never leaves the site.
//!
//! Deliberately without an encoder, `Serialize` or `prost::Message`: what leaves is an `Alert`, made from rule templates.
//! Made by the decoders, consumed by `AlertEngine::handle`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use postern_protocol::alert::{Authenticity, Severity};
use postern_protocol::oid::Oid;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

/// What a listener speaks; also the ledger's first coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `POST /v1/push`.
    Push,
    /// SNMP traps and informs.
    SnmpTrap,
    /// Syslog over any transport.
    Syslog,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Push, Self::SnmpTrap, Self::Syslog];

    /// Returns the name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::SnmpTrap => "snmp_trap",
            Self::Syslog => "syslog",
        }
    }
}

/// How an event travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP without TLS.
    Tcp,
    /// TLS.
    Tls,
    /// UDP.
    Udp,
}

impl Transport {
    /// Returns the name in evidence and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }
}

/// One event, with what is known of its sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When the gateway received it.
    pub received: Timestamp,
    /// The sender as the socket saw it, or as the trusted balancer in `relay` named it; v4-mapped addresses are normalised.
    pub peer: IpAddr,
    /// How it travelled.
    pub transport: Transport,
    /// How far the sender proved who it is.
    pub authenticity: Authenticity,
    /// Who is trusted to name the sender: the balancer before `peer` that named it by the PROXY protocol; or `peer` itself, when it
    /// is one of the relays whose `snmpTrapAddress.0` the site believes.
    pub relay: Option<IpAddr>,
    /// Subject of the TLS client certificate, or the id of the push key.
    pub tls_name: Option<String>,
    /// What it says.
    pub body: Body,
}

impl Event {
    /// Returns the protocol that the event came by.
    pub const fn protocol(&self) -> Protocol {
        match self.body {
            Body::Notification(_) => Protocol::SnmpTrap,
            Body::Push(_) => Protocol::Push,
            Body::Syslog(_) => Protocol::Syslog,
        }
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// An SNMP trap or inform.
    Notification(Notification),
    /// A pushed event.
    Push(PushEvent),
    /// A syslog message.
    Syslog(SyslogMessage),
}

/// An SNMP notification, v1 already mapped to v2 (RFC 3584 §3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// `snmpTrapOID.0`.
    pub trap_oid: Oid,
    /// `sysUpTime.0` in hundredths of a second.
    pub uptime: u32,
    /// `snmpTrapAddress.0` (RFC 3584 §3.1) or a v1 trap's agent-addr, when given and not 0.0.0.0.
    pub trap_address: Option<IpAddr>,
    /// The authoritative engine that authenticated it (RFC 3411 §5); `None` for v1 and v2c.
    pub engine_id: Option<Vec<u8>>,
    /// The other varbinds, in order.
    pub varbinds: Vec<Varbind>,
}

/// A name and its value (RFC 3416 §2.1).
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Varbind {
    /// The instance's OID.
    pub name: Oid,
    /// Its value.
    pub value: Value,
}

/// The value of a varbind (RFC 2578 §7.1, RFC 3416 §2.5).
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Value {
    /// INTEGER or Integer32.
    Integer(i64),
    /// OCTET STRING.
    OctetString(Vec<u8>),
    /// NULL, noSuchObject, noSuchInstance or endOfMibView.
    Null,
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// IpAddress.
    IpAddress(std::net::Ipv4Addr),
    /// Counter32.
    Counter32(u32),
    /// Gauge32 or Unsigned32.
    Gauge32(u32),
    /// TimeTicks, hundredths of a second.
    TimeTicks(u32),
    /// Opaque.
    Opaque(Vec<u8>),
    /// Counter64.
    Counter64(u64),
}

/// A syslog message in either grammar (RFC 5424, RFC 3164).
///
/// What the sender left out is told apart from what it said: `pri_present` is false without a PRI, `timestamp` and `host` are `None`
/// where the line has none, be it NILVALUE, a missing header, or one that cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyslogMessage {
    /// Facility, 0 to 23 (RFC 5424 §6.2.1).
    pub facility: u8,
    /// Severity, 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// Whether a PRI was there; without one facility is `user` and severity `notice` (RFC 3164 §4.3.3).
    pub pri_present: bool,
    /// The sender's time stamp; `None` also for an uptime, as Cisco devices write before their clock is set.
    pub timestamp: Option<Timestamp>,
    /// HOSTNAME, or the name by which the vendor's format calls the device (`devname=`, `dvchost=`, `fw=` …) where the line has no header.
    pub host: Option<String>,
    /// APP-NAME or TAG; for Cisco's lines `%FACILITY-SEVERITY-MNEMONIC`. `None` where the text begins at once.
    pub program: Option<String>,
    /// PROCID.
    pub pid: Option<String>,
    /// MSGID, or the mnemonic or number by which the vendor names the message.
    pub msgid: Option<String>,
    /// STRUCTURED-DATA: element id to parameters, in order.
    pub structured_data: Vec<(String, Vec<(String, String)>)>,
    /// Key=value pairs that the vendor's format has, CEF's and LEEF's header and extension, in order.
    pub fields: Fields,
    /// MSG, readable: what is neither UTF-8 nor clearly Windows-1252 is replaced, a BOM removed.
    pub message: String,
}

/// Names and values in order, in one piece of memory: a firewall's line has dozens.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
    /// Where a name and its value end in `text`.
    ends: Vec<(u32, u32)>,
}

impl Fields {
    /// Makes room for fields with this many bytes in all.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// Adds a field; one that does not fit into 4 GiB is left out.
    pub fn push(&mut self, name: &str, value: &str) {
        let name_end = self.text.len().saturating_add(name.len());
        let Ok(value_end) = u32::try_from(name_end.saturating_add(value.len())) else { return };
        self.text.push_str(name);
        self.text.push_str(value);
        self.ends.push((u32::try_from(name_end).unwrap_or(value_end), value_end));
    }

    /// Returns the value of the first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Goes through names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |(name_end, value_end)| {
            let name = self.text.get(start..*name_end as usize).unwrap_or_default();
            let value = self.text.get(*name_end as usize..*value_end as usize).unwrap_or_default();
            start = *value_end as usize;
            (name, value)
        })
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// An event from `POST /v1/push`.
#[derive(Clone, Debug, PartialEq)]
pub struct PushEvent {
    /// Whether the condition is there or over.
    pub state: PushState,
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart events of one kind on one resource.
    pub qualifier: String,
    /// How grave it is.
    pub severity: Severity,
    /// Free text.
    pub summary: String,
    /// Further facts.
    pub fields: BTreeMap<String, String>,
}
