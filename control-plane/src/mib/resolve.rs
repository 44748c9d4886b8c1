//! Gives every definition its OID, every object its syntax and every notification its objects.

use std::collections::HashMap;

use postern_protocol::dictionary::builder::SyntaxDefinition;
use postern_protocol::dictionary::entry::{Class, Kind};
use postern_protocol::oid::{MAX_SUB_IDENTIFIERS, Oid};

use super::names::{Lost, Meaning, Place, World};
use super::parse::{Arc, Node, Role, Syntax};

/// The parent of the generic traps of RFC 1215, which RFC 3584 §3.1 gives OIDs of their own.
const SNMP: [u32; 7] = [1, 3, 6, 1, 2, 1, 11];
const SNMP_TRAPS: [u32; 9] = [1, 3, 6, 1, 6, 3, 1, 1, 5];

/// Most types that one can be made of.
const MAX_TYPE_DEPTH: usize = 16;

/// What keeps a definition from having an OID, or a notification from having an object.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The module in which the name is used.
    pub(super) module: usize,
    pub(super) line: u32,
    /// The name that means nothing.
    pub(super) name: String,
    pub(super) why: Lost,
}

/// A definition's OID, or why there is none.
pub(super) type Outcome = Result<Vec<u32>, Fault>;

/// Something that was mended.
#[derive(Clone, Debug)]
pub(super) struct Mending {
    pub(super) module: usize,
    pub(super) line: u32,
    pub(super) what: String,
}

/// Works everything out once.
pub(super) struct Resolver<'w> {
    world: &'w World<'w>,
    oids: HashMap<Place, Option<Outcome>>,
    depth: usize,
    pub(super) mended: Vec<Mending>,
    /// Definitions whose OID rests on something mended.
    shaky: std::collections::HashSet<Place>,
    types: HashMap<&'w str, Vec<usize>>,
}

impl<'w> Resolver<'w> {
    pub(super) fn new(world: &'w World<'w>) -> Self {
        let mut types: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, module) in world.modules.iter().enumerate() {
            for name in module.types.keys() {
                types.entry(name).or_default().push(at);
            }
        }
        Self { world, oids: HashMap::new(), depth: 0, mended: Vec::new(), shaky: std::collections::HashSet::new(), types }
    }

    pub(super) fn node(&self, place: Place) -> Option<&'w Node> {
        self.world.modules.get(place.module)?.nodes.get(place.node)
    }

    /// Whether the OID at `place` rests on something mended.
    pub(super) fn is_shaky(&self, place: Place) -> bool {
        self.shaky.contains(&place)
    }

    /// Returns the OID of the definition at `place`.
    pub(super) fn oid(&mut self, place: Place) -> Outcome {
        let Some(node) = self.node(place) else { return Err(self.circle(place)) };
        match self.oids.get(&place) {
            Some(Some(known)) => return known.clone(),
            Some(None) => return Err(self.circle(place)),
            None => {}
        }
        if self.depth > MAX_SUB_IDENTIFIERS {
            return Err(self.circle(place));
        }
        self.oids.insert(place, None);
        self.depth = self.depth.saturating_add(1);
        let found = match &node.role {
            Role::Trap { enterprise, .. } => self.value(place, node.line, enterprise).map(|enterprise| trap(enterprise, &node.value)),
            Role::Node | Role::Notification { .. } | Role::Object { .. } => self.value(place, node.line, &node.value),
        };
        self.depth = self.depth.saturating_sub(1);
        let found = found.and_then(|oid| if Oid::new(&oid).is_ok() || oid.len() == 1 { Ok(oid) } else { Err(self.circle(place)) });
        self.oids.insert(place, Some(found.clone()));
        found
    }

    fn circle(&self, place: Place) -> Fault {
        let node = self.node(place);
        let name = node.map(|node| node.name.clone()).unwrap_or_default();
        Fault { module: place.module, line: node.map_or(0, |node| node.line), name, why: Lost::Circular }
    }

    fn value(&mut self, place: Place, line: u32, arcs: &'w [Arc]) -> Outcome {
        let mut oid: Vec<u32> = Vec::new();
        for (at, arc) in arcs.iter().enumerate() {
            match arc {
                Arc::Both(_, number) if at > 0 => oid.push(*number),
                Arc::Number(number) => oid.push(*number),
                // `{ iso(1) org(3) … }` says it all; anything else is a name first.
                Arc::Both(name, 1) if name == "iso" => oid.push(1),
                Arc::Both(name, number) => match self.meaning(place, line, name) {
                    Ok(meant) => oid = meant,
                    Err(fault) if *number > 2 => return Err(fault),
                    Err(_) => oid.push(*number),
                },
                // Behind the first: `{ MODULE.name 1 }`, or `{ iso org dod … }` without numbers: the last name says it all.
                Arc::Name(name) => oid = self.meaning(place, line, name)?,
            }
        }
        if oid.is_empty() { Err(self.circle(place)) } else { Ok(oid) }
    }

    /// Returns the OID that `name` means in the definition at `place`.
    fn meaning(&mut self, place: Place, line: u32, name: &str) -> Outcome {
        let world = self.world;
        let fault = |why| Fault { module: place.module, line, name: name.to_owned(), why };
        let found = world.find(place.module, name, Some(place), &mut |other| self.oid(other).ok()).map_err(fault)?;
        if let Some(what) = found.mended {
            self.shaky.insert(place);
            self.mended.push(Mending { module: place.module, line, what });
        }
        match found.meaning {
            Meaning::BuiltIn(definition) => Ok(definition.oid.numbers().to_vec()),
            Meaning::Defined(parent) => {
                let oid = self.oid(parent)?;
                if self.shaky.contains(&parent) {
                    self.shaky.insert(place);
                }
                Ok(oid)
            }
            Meaning::WellKnown(numbers) => Ok(numbers.to_vec()),
        }
    }

    /// Returns the OIDs of the objects of the notification at `place`, and what keeps others from having one.
    pub(super) fn objects(&mut self, place: Place) -> (Vec<Vec<u32>>, Vec<Fault>) {
        let Some(node) = self.node(place) else { return (Vec::new(), Vec::new()) };
        let (Role::Notification { objects } | Role::Trap { objects, .. }) = &node.role else { return (Vec::new(), Vec::new()) };
        let (mut oids, mut faults) = (Vec::new(), Vec::new());
        for object in objects {
            match self.meaning(place, node.line, object) {
                Ok(oid) => oids.push(oid),
                Err(fault) => faults.push(fault),
            }
        }
        (oids, faults)
    }

    /// Returns what the definition at `place` is and what its values look like; `row_parents` knows the kinds of what lies above.
    pub(super) fn kind(&self, place: Place, above: Option<Kind>) -> Kind {
        match self.node(place).map(|node| &node.role) {
            Some(Role::Notification { .. } | Role::Trap { .. }) => Kind::Notification,
            Some(Role::Object { syntax, .. }) if syntax.name == "SEQUENCE OF" => Kind::Table,
            Some(Role::Object { is_row: true, .. }) => Kind::Row,
            Some(Role::Object { .. }) if above == Some(Kind::Table) => Kind::Row,
            Some(Role::Object { .. }) if above == Some(Kind::Row) => Kind::Column,
            Some(Role::Object { .. }) => Kind::Scalar,
            Some(Role::Node) | None => Kind::Node,
        }
    }

    /// Returns how values of `syntax`, as the module at `module` writes it, are to be read; an error names a type that nothing defines.
    pub(super) fn syntax(&self, module: usize, syntax: &Syntax) -> Result<SyntaxDefinition, String> {
        let mut out = SyntaxDefinition { class: Class::Other, hint: String::new(), labels: syntax.labels.clone() };
        let (mut at, mut name) = (module, syntax.name.as_str());
        for _ in 0..MAX_TYPE_DEPTH {
            if name == "InetAddress" {
                out.class = Class::InetAddress;
                return Ok(out);
            }
            // A module that writes down the SMI's own types says how they are encoded, not what they mean.
            if let Some(class) = smi(name) {
                out.class = class;
                return Ok(out);
            }
            let defined = self.type_at(at, name).and_then(|place| Some((place, self.world.modules.get(place)?.types.get(name)?)));
            match (defined, convention(name)) {
                (Some((place, of)), _) => {
                    if out.hint.is_empty() {
                        out.hint.clone_from(&of.hint);
                    }
                    if out.labels.is_empty() {
                        out.labels.clone_from(&of.syntax.labels);
                    }
                    (at, name) = (place, &of.syntax.name);
                }
                (None, Some((class, hint))) => {
                    out.class = class;
                    if out.hint.is_empty() {
                        hint.clone_into(&mut out.hint);
                    }
                    return Ok(out);
                }
                (None, None) => return Err(name.to_owned()),
            }
        }
        Err(syntax.name.clone())
    }

    /// Finds the module whose type `name` is meant in the module at `from`.
    fn type_at(&self, from: usize, name: &str) -> Option<usize> {
        let candidates = self.types.get(name)?;
        if candidates.contains(&from) {
            return Some(from);
        }
        let import = self.world.modules.get(from)?.imports.iter().find(|import| import.name == name);
        let imported = import.and_then(|import| self.world.module(&import.module)).filter(|at| candidates.contains(at));
        // A type that the SMI knows is not taken from wherever it happens to be written down.
        imported.or_else(|| if convention(name).is_some() { None } else { candidates.first().copied() })
    }
}

/// RFC 3584 §3.1: a generic trap is one of snmpTraps, any other its enterprise, 0 and its number.
fn trap(mut enterprise: Vec<u32>, value: &[Arc]) -> Vec<u32> {
    let number = match value {
        [Arc::Number(number)] => *number,
        _ => 0,
    };
    if enterprise == SNMP && number <= 5 {
        return [&SNMP_TRAPS[..], &[number.saturating_add(1)]].concat();
    }
    enterprise.extend([0, number]);
    enterprise
}

/// Types of the SMI itself (RFC 1155, RFC 2578).
fn smi(name: &str) -> Option<Class> {
    Some(match name {
        "INTEGER" | "Integer32" | "Integer" => Class::Integer,
        "OCTET STRING" | "Octet" | "BIT STRING" => Class::OctetString,
        "OBJECT IDENTIFIER" => Class::Oid,
        "IpAddress" | "NetworkAddress" => Class::IpAddress,
        "Counter" | "COUNTER" | "Counter32" | "Counter64" => Class::Counter,
        "Gauge" | "GAUGE" | "Gauge32" | "Unsigned32" | "UInteger32" | "Unsigned64" => Class::Gauge,
        "TimeTicks" => Class::TimeTicks,
        "Opaque" => Class::Opaque,
        "BITS" => Class::Bits,
        "SEQUENCE OF" | "SEQUENCE" | "CHOICE" | "NULL" | "" => Class::Other,
        _ => return None,
    })
}

/// Textual conventions that modules use without having them at hand (RFC 2579, RFC 2863, RFC 3411, RFC 4001).
fn convention(name: &str) -> Option<(Class, &'static str)> {
    Some(match name {
        "TruthValue"
        | "RowStatus"
        | "StorageType"
        | "InterfaceIndex"
        | "InterfaceIndexOrZero"
        | "TestAndIncr"
        | "InetAddressType"
        | "EntryStatus" => (Class::Integer, ""),
        "OwnerString" => (Class::OctetString, ""),
        "DisplayString" => (Class::OctetString, "255a"),
        "SnmpAdminString" | "Utf8String" | "UTF8String" => (Class::OctetString, "255t"),
        "PhysAddress" | "MacAddress" => (Class::OctetString, "1x:"),
        "DateAndTime" => (Class::OctetString, "2d-1d-1d,1d:1d:1d.1d,1a1d:1d"),
        "AutonomousType" | "RowPointer" | "VariablePointer" | "InstancePointer" => (Class::Oid, ""),
        "ZeroBasedCounter32" => (Class::Counter, ""),
        "TimeStamp" => (Class::TimeTicks, ""),
        "TimeInterval" => (Class::Integer, ""),
        _ => return None,
    })
}
