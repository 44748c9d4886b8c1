//! Finds what a name in a module means, also when its IMPORTS do not say so or say it wrongly.

use std::collections::{HashMap, HashSet};

use postern_protocol::dictionary::builder::Definition;

use super::parse::{Import, Module};

/// A definition: the module's place and the definition's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) module: usize,
    pub(super) node: usize,
}

/// What a name means.
#[derive(Clone, Debug)]
pub(super) enum Meaning<'w> {
    /// A definition of one of the modules.
    Defined(Place),
    /// The gateways' own table knows it.
    BuiltIn(&'w Definition),
    /// The SMI itself gives it.
    WellKnown(&'static [u32]),
}

/// What a name means, and how that was found out.
#[derive(Clone, Debug)]
pub(super) struct Found<'w> {
    pub(super) meaning: Meaning<'w>,
    /// What had to be mended for it, in a sentence.
    pub(super) mended: Option<String>,
}

/// Why a name means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Several modules define it, each as something else, and nothing tells which is meant.
    Ambiguous(Vec<String>),
    /// Its OID would rest on itself, or is too long.
    Circular,
    /// It is imported from a module that is not there.
    NoModule(Importing),
    /// It is imported from a module that does not define it.
    NotExported(Importing),
    /// Nothing defines it.
    Unknown,
}

/// The module and the line of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Importing {
    pub(super) module: String,
    pub(super) line: u32,
}

/// Modules that an import may pass through.
const MAX_PASSED_ON: usize = 4;

/// Modules whose names begin with so many bytes alike are taken for one vendor's.
const ALIKE_BYTES: usize = 4;

/// Names that the SMI gives (RFC 1155, RFC 2578 §3, RFC 3417), and those of RFC 1213 on which whole trees stand.
const WELL_KNOWN: [(&str, &[u32]); 24] = [
    ("ccitt", &[0]),
    ("directory", &[1, 3, 6, 1, 1]),
    ("dod", &[1, 3, 6]),
    ("enterprises", &[1, 3, 6, 1, 4, 1]),
    ("experimental", &[1, 3, 6, 1, 3]),
    ("internet", &[1, 3, 6, 1]),
    ("iso", &[1]),
    ("itu-t", &[0]),
    ("joint-iso-ccitt", &[2]),
    ("joint-iso-itu-t", &[2]),
    ("mgmt", &[1, 3, 6, 1, 2]),
    ("mib", &[1, 3, 6, 1, 2, 1]),
    ("mib-2", &[1, 3, 6, 1, 2, 1]),
    ("org", &[1, 3]),
    ("private", &[1, 3, 6, 1, 4]),
    ("security", &[1, 3, 6, 1, 5]),
    ("snmp", &[1, 3, 6, 1, 2, 1, 11]),
    ("snmpDomains", &[1, 3, 6, 1, 6, 1]),
    ("snmpModules", &[1, 3, 6, 1, 6, 3]),
    ("snmpProxys", &[1, 3, 6, 1, 6, 2]),
    ("snmpTraps", &[1, 3, 6, 1, 6, 3, 1, 1, 5]),
    ("snmpV2", &[1, 3, 6, 1, 6]),
    ("transmission", &[1, 3, 6, 1, 2, 1, 10]),
    ("zeroDotZero", &[0, 0]),
];

/// Tells the OID of a definition.
pub(super) type OidOf<'a> = dyn FnMut(Place) -> Option<Vec<u32>> + 'a;

/// Every module, and where each name is.
pub(super) struct World<'w> {
    pub(super) modules: &'w [Module],
    by_name: HashMap<&'w str, usize>,
    by_plain_name: HashMap<String, Vec<usize>>,
    definitions: HashMap<&'w str, Vec<Place>>,
    plain_definitions: HashMap<String, Vec<Place>>,
    built_in: HashMap<&'w str, Vec<&'w Definition>>,
    built_in_modules: HashSet<&'w str>,
}

impl<'w> World<'w> {
    /// Looks over `modules`; of two of one name the one with the later LAST-UPDATED counts, else the later one.
    pub(super) fn new(modules: &'w [Module], built_in: &'w [Definition]) -> Self {
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut by_plain_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut definitions: HashMap<&str, Vec<Place>> = HashMap::new();
        let mut plain_definitions: HashMap<String, Vec<Place>> = HashMap::new();
        for (at, module) in modules.iter().enumerate() {
            let place = by_name.entry(&module.name).or_insert(at);
            if modules.get(*place).is_none_or(|before| before.updated <= module.updated) {
                *place = at;
            }
            by_plain_name.entry(plain_module(&module.name)).or_default().push(at);
            for (node, definition) in module.nodes.iter().enumerate() {
                let place = Place { module: at, node };
                definitions.entry(&definition.name).or_default().push(place);
                plain_definitions.entry(plain(&definition.name)).or_default().push(place);
            }
        }
        let mut known: HashMap<&str, Vec<&Definition>> = HashMap::new();
        for definition in built_in {
            known.entry(&definition.name).or_default().push(definition);
        }
        let built_in_modules = built_in.iter().map(|definition| definition.module.as_str()).collect();
        Self { modules, by_name, by_plain_name, definitions, plain_definitions, built_in: known, built_in_modules }
    }

    /// Returns the place of the module that counts under `name`.
    pub(super) fn module(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns whether what `import` names is found, under whatever name of its module.
    pub(super) fn has(&self, import: &Import) -> bool {
        self.imported(&import.module, &import.name, MAX_PASSED_ON).is_some()
            || self.built_in_modules.contains(import.module.as_str())
            || self.built_in.contains_key(import.name.as_str())
    }

    /// Returns what `name` means in the module at `from`; `not` is the definition that asks, which cannot be meant.
    pub(super) fn find(&self, from: usize, name: &str, not: Option<Place>, oid_of: &mut OidOf<'_>) -> Result<Found<'w>, Lost> {
        let good = |meaning| Ok(Found { meaning, mended: None });
        let own = |definitions: Option<&Vec<Place>>| definitions?.iter().copied().find(|place| place.module == from && Some(*place) != not);
        if let Some(place) = own(self.definitions.get(name)) {
            return good(Meaning::Defined(place));
        }
        let import = self.modules.get(from).and_then(|module| module.imports.iter().find(|import| import.name == name));
        if let Some(import) = import {
            match self.imported(&import.module, name, MAX_PASSED_ON) {
                Some((place, None)) if Some(place) != not => return good(Meaning::Defined(place)),
                Some((place, Some(by))) if Some(place) != not => {
                    let mended = Some(format!("{name} is imported from {}, but {by} defines it", import.module));
                    return Ok(Found { meaning: Meaning::Defined(place), mended });
                }
                Some(_) | None => {}
            }
            let known = self.built_in.get(name).into_iter().flatten().find(|known| known.module == import.module);
            if let (Some(definition), None) = (known, self.module(&import.module)) {
                return good(Meaning::BuiltIn(definition));
            }
        }
        if let Some((_, numbers)) = WELL_KNOWN.iter().find(|(known, _)| *known == name) {
            return good(Meaning::WellKnown(numbers));
        }
        if let Some(place) = own(self.plain_definitions.get(&plain(name))) {
            let right = self.node_name(place);
            return Ok(Found { meaning: Meaning::Defined(place), mended: Some(format!("{name} is written for {right}")) });
        }
        let mut ambiguous = None;
        for (everywhere, spelt) in [(self.definitions.get(name), None), (self.plain_definitions.get(&plain(name)), Some(()))] {
            let candidates: Vec<Place> = everywhere.into_iter().flatten().copied().filter(|place| Some(*place) != not).collect();
            match self.choose(from, import.map_or("", |import| &import.module), candidates, oid_of) {
                Ok(Some(place)) => {
                    let by = self.modules.get(place.module).map_or("", |module| module.name.as_str());
                    let written = spelt.map(|()| format!(", where it is spelt {}", self.node_name(place))).unwrap_or_default();
                    let mended = Some(match import {
                        Some(import) => {
                            format!("{name} is imported from {}, which has no such name: taken from {by}{written}", import.module)
                        }
                        None => format!("{name} is not imported: taken from {by}{written}"),
                    });
                    return Ok(Found { meaning: Meaning::Defined(place), mended });
                }
                Ok(None) => {}
                Err(modules) => ambiguous = ambiguous.or(Some(modules)),
            }
        }
        if let Some(known) = self.built_in.get(name).and_then(|known| known.first()) {
            let mended = Some(format!("{name} is not imported from where it is defined: taken from {}", known.module));
            return Ok(Found { meaning: Meaning::BuiltIn(known), mended });
        }
        if let Some(modules) = ambiguous {
            return Err(Lost::Ambiguous(modules));
        }
        Err(match import {
            Some(import) => {
                let lost = Importing { module: import.module.clone(), line: import.line };
                if self.module(&import.module).is_some() { Lost::NotExported(lost) } else { Lost::NoModule(lost) }
            }
            None => Lost::Unknown,
        })
    }

    /// Finds what `name` imported from `module` is; the second value names the module that really has it.
    fn imported(&self, module: &str, name: &str, depth: usize) -> Option<(Place, Option<&'w str>)> {
        if let Some(at) = self.module(module) {
            let has = |at: usize| self.definitions.get(name).into_iter().flatten().copied().find(|place| place.module == at);
            if let Some(place) = has(at) {
                return Some((place, None));
            }
            // It may only pass on what it imports itself.
            let on = self.modules.get(at)?.imports.iter().find(|import| import.name == name && import.module != module);
            if let Some(on) = on.filter(|_| depth > 0) {
                let (place, _) = self.imported(&on.module, name, depth.saturating_sub(1))?;
                return Some((place, Some(&self.modules.get(place.module)?.name)));
            }
        }
        // Another spelling of the module's name: `RFC-1213` for RFC1213-MIB, `SNMPv2-SMI-v1` for SNMPv2-SMI.
        let alike = self.by_plain_name.get(&plain_module(module))?;
        let places = self.definitions.get(name)?;
        let place = places.iter().copied().find(|place| alike.contains(&place.module))?;
        Some((place, Some(&self.modules.get(place.module)?.name)))
    }

    /// Chooses one of several definitions of a name: when all are of one OID any, else those of modules that `from` imports from, else
    /// those of modules that are called like `asked`, from which it was to come, else those of the same vendor by the module's name. An error names the modules when that leaves several.
    fn choose(&self, from: usize, asked: &str, candidates: Vec<Place>, oid_of: &mut OidOf<'_>) -> Result<Option<Place>, Vec<String>> {
        let candidates: Vec<Place> = candidates.into_iter().filter(|place| oid_of(*place).is_some()).collect();
        let Some(module) = self.modules.get(from) else { return Ok(None) };
        let name = |place: &Place| self.modules.get(place.module).map_or("", |module| module.name.as_str());
        let of_imports = candidates.iter().copied().filter(|place| module.imports.iter().any(|import| import.module == name(place)));
        let of_imports: Vec<Place> = of_imports.collect();
        let vendor = |name: &str| name.split(['-', '_']).next().unwrap_or_default().to_ascii_uppercase();
        let of_vendor: Vec<Place> = candidates.iter().copied().filter(|place| vendor(name(place)) == vendor(&module.name)).collect();
        let alike = |name: &str| name.bytes().zip(asked.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count() >= ALIKE_BYTES;
        let of_kin: Vec<Place> = candidates.iter().copied().filter(|place| alike(name(place))).collect();
        for group in [&of_imports, &of_kin, &of_vendor, &candidates] {
            let mut oids: Vec<Vec<u32>> = group.iter().filter_map(|place| oid_of(*place)).collect();
            oids.sort();
            oids.dedup();
            if oids.len() == 1 {
                return Ok(group.first().copied());
            }
        }
        if candidates.is_empty() { Ok(None) } else { Err(candidates.iter().map(|place| name(place).to_owned()).collect()) }
    }

    fn node_name(&self, place: Place) -> &'w str {
        self.modules.get(place.module).and_then(|module| module.nodes.get(place.node)).map_or("", |node| node.name.as_str())
    }
}

/// A descriptor as it is compared when nothing fits exactly.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A module's name as it is compared when there is none of exactly this name.
fn plain_module(name: &str) -> String {
    let mut words: Vec<String> = name.split(['-', '_', '.']).filter(|word| !word.is_empty()).map(str::to_ascii_uppercase).collect();
    while words.len() > 1 && words.last().is_some_and(|last| matches!(last.as_str(), "MIB" | "V1" | "V2" | "SMI" | "II" | "MY" | "TXT")) {
        words.pop();
    }
    words.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_modules_name_meet() {
        for (one, two) in [("RFC-1213", "RFC1213-MIB"), ("SNMPv2-SMI-v1", "SNMPv2-SMI"), ("IF_MIB", "IF-MIB"), ("Foo-Mib", "FOO-MIB")] {
            assert_eq!(plain_module(one), plain_module(two));
        }
        assert_ne!(plain_module("IF-MIB"), plain_module("IP-MIB"));
    }
}
