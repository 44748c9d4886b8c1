//! From files to the table and the report.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use postern_protocol::dictionary;
use postern_protocol::dictionary::builder::{BuildError, Builder, Definition, SyntaxDefinition};
use postern_protocol::dictionary::entry::Kind;
use postern_protocol::oid::Oid;

use super::archive::Files;
use super::lexer::{self, ModuleText};
use super::library::{self, Library};
use super::names::{Lost, Place, World};
use super::parse::{self, Module, Role};
use super::report::{MAX_ENTRIES, ModuleReport, Problem, Reason, Report, SkippedFile, Totals, Unresolved};
use super::resolve::{Fault, Outcome, Resolver};
use super::{scan, text};

/// A compiled collection.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) table: Vec<u8>,
    pub(super) report: Report,
}

/// Compiles the modules of `files`; names that none of them has are sought in `built_in`.
///
/// # Errors
/// [`BuildError::Large`]: the modules are too many for one table.
pub(super) fn assemble(files: Files, built_in: &[Definition]) -> Result<Assembled, BuildError> {
    let Files { taken, mut skipped, .. } = files;
    let count = taken.len();
    // One after the other, so that only one copy of most bytes is there.
    let texts: Vec<(String, String)> = taken.into_iter().map(|file| (file.name, text::plain(&file.bytes))).collect();
    let mut sources: Vec<Source<'_>> = Vec::new();
    let mut modules: Vec<Module> = Vec::new();
    for (file, text) in &texts {
        let found = lexer::modules(text, stem(file));
        if found.is_empty() {
            skipped.push(SkippedFile { file: file.clone(), why: "there is no MIB module in it".to_owned() });
        }
        for module in found {
            modules.push(parse::module(&module));
            sources.push(Source { file, text, module });
        }
    }
    let world = World::new(&modules, built_in);
    let counting: Vec<&Source<'_>> =
        sources.iter().enumerate().filter(|(at, source)| world.module(source.module.name) == Some(*at)).map(|(_, source)| source).collect();
    let library = library::ask(counting.iter().map(|source| (source.module.name, source.file, source.text, source.module.range.clone())));
    let mut assembly = Assembly {
        sources: &sources,
        modules: &modules,
        world: &world,
        library: &library,
        resolver: Resolver::new(&world),
        report: Report { skipped, ..Report::default() },
    };
    assembly.report.totals.files = count;
    let chosen = assembly.definitions();
    assembly.tell_faults();
    assembly.tell_notifications();
    let mut builder = Builder::default();
    for definition in chosen.into_values() {
        let name = definition.name.clone();
        if let Err(error) = builder.add(definition) {
            tracing::debug!(name, error = %error, "left out of the table");
        }
    }
    let table = builder.encode()?;
    let mut report = assembly.report;
    report.totals.entries = builder.len();
    report.totals.table_bytes = table.len();
    report.totals.digest = dictionary::digest(&table).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    finish(&mut report);
    Ok(Assembled { table, report })
}

/// A module and where it comes from.
struct Source<'t> {
    file: &'t str,
    text: &'t str,
    module: ModuleText<'t>,
}

/// A definition that may come into the table, and how good it is: the least counts.
struct Candidate {
    rank: (bool, bool, u8, usize, std::cmp::Reverse<String>, String),
    definition: Definition,
}

struct Assembly<'w> {
    sources: &'w [Source<'w>],
    modules: &'w [Module],
    world: &'w World<'w>,
    library: &'w Library,
    resolver: Resolver<'w>,
    report: Report,
}

impl Assembly<'_> {
    /// Chooses what each OID is called.
    ///
    /// Of two definitions of one OID that counts which rests on nothing mended, which is more than a place in the tree, whose module is
    /// SMIv2, is imported from more often, was updated later, comes first by name: in this order.
    fn definitions(&mut self) -> BTreeMap<Oid, Definition> {
        let mut used: HashMap<&str, usize> = HashMap::new();
        for module in self.modules {
            let mut from: Vec<&str> = module.imports.iter().map(|import| import.module.as_str()).collect();
            from.sort_unstable();
            from.dedup();
            for name in from {
                let count = used.entry(name).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut chosen: BTreeMap<Oid, Candidate> = BTreeMap::new();
        let mut seen: BTreeMap<Oid, usize> = BTreeMap::new();
        for (at, module) in self.modules.iter().enumerate() {
            let mut entries = 0_usize;
            let kinds = self.kinds(at);
            for (node, definition) in module.nodes.iter().enumerate() {
                let place = Place { module: at, node };
                let Some(numbers) = self.oid(place) else { continue };
                let Ok(oid) = Oid::new(&numbers) else { continue };
                entries = entries.saturating_add(1);
                let kind = self.resolver.kind(place, numbers.split_last().and_then(|(_, above)| kinds.get(above)).copied());
                let candidate = Candidate {
                    rank: (
                        self.resolver.is_shaky(place),
                        kind == Kind::Node,
                        2_u8.saturating_sub(module.smi),
                        usize::MAX.saturating_sub(used.get(module.name.as_str()).copied().unwrap_or_default()),
                        std::cmp::Reverse(module.updated.clone()),
                        module.name.clone(),
                    ),
                    definition: Definition {
                        oid: oid.clone(),
                        name: definition.name.clone(),
                        module: module.name.clone(),
                        kind,
                        syntax: self.syntax(place),
                        objects: self.objects(place),
                    },
                };
                let count = seen.entry(oid.clone()).or_default();
                *count = count.saturating_add(1);
                match chosen.get_mut(&oid) {
                    Some(known) if known.rank > candidate.rank => *known = candidate,
                    Some(_) => {}
                    None => {
                        chosen.insert(oid, candidate);
                    }
                }
            }
            self.report.modules.push(ModuleReport {
                name: module.name.clone(),
                file: self.sources.get(at).map(|source| source.file.to_owned()).unwrap_or_default(),
                smi: module.smi,
                entries,
                ..ModuleReport::default()
            });
        }
        self.report.totals.duplicate_oids = seen.values().filter(|count| **count > 1).count();
        chosen.into_iter().map(|(oid, candidate)| (oid, candidate.definition)).collect()
    }

    /// Returns the OID of a definition, as we or as mib-rs see it.
    fn oid(&mut self, place: Place) -> Option<Vec<u32>> {
        let ours = self.resolver.oid(place).ok();
        let theirs = || self.library.node(self.name_of(place)?).map(|node| node.oid.clone());
        ours.or_else(theirs)
    }

    fn objects(&mut self, place: Place) -> Vec<Oid> {
        let (found, faults) = self.resolver.objects(place);
        let theirs = self.name_of(place).and_then(|name| self.library.node(name)).map(|node| &node.objects);
        let objects = theirs.filter(|theirs| !faults.is_empty() && theirs.len() > found.len()).unwrap_or(&found);
        objects.iter().filter_map(|oid| Oid::new(oid).ok()).collect()
    }

    fn name_of(&self, place: Place) -> Option<(&str, &str)> {
        let module = self.modules.get(place.module)?;
        // Of two modules of one name the library has seen one.
        (self.world.module(&module.name) == Some(place.module)).then_some(())?;
        Some((&module.name, &module.nodes.get(place.node)?.name))
    }

    /// Returns the kinds of a module's tables and rows by OID.
    fn kinds(&mut self, at: usize) -> HashMap<Vec<u32>, Kind> {
        let count = self.modules.get(at).map_or(0, |module| module.nodes.len());
        let mut kinds = HashMap::new();
        // Tables first, because a row may be one only by what lies above it.
        for _ in 0..2 {
            for node in 0..count {
                let place = Place { module: at, node };
                let Some(oid) = self.oid(place) else { continue };
                let above = oid.split_last().and_then(|(_, above)| kinds.get(above)).copied();
                let kind = self.resolver.kind(place, above);
                if matches!(kind, Kind::Row | Kind::Table) {
                    kinds.insert(oid, kind);
                }
            }
        }
        kinds
    }

    fn syntax(&mut self, place: Place) -> Option<SyntaxDefinition> {
        let node = self.resolver.node(place)?;
        let Role::Object { syntax, is_row } = &node.role else { return None };
        if *is_row || matches!(syntax.name.as_str(), "SEQUENCE OF" | "") {
            return None;
        }
        match self.resolver.syntax(place.module, syntax) {
            Ok(syntax) => Some(cleaned(syntax)),
            Err(name) => {
                let row = self.modules.get(place.module).and_then(|module| module.types.get(&syntax.name));
                if row.is_none_or(|row| row.syntax.name != "SEQUENCE") {
                    let detail = format!("the type {name} of {} is not defined anywhere", node.name);
                    self.problem(place.module, node.line, Reason::UnknownType, detail);
                }
                let theirs = self.library.node(self.name_of(place)?)?.syntax.clone()?;
                Some(cleaned(theirs))
            }
        }
    }

    fn problem(&mut self, module: usize, line: u32, reason: Reason, detail: String) {
        let problem = self.entry(module, line, reason, detail);
        self.report.problems.push(problem);
    }

    fn entry(&self, module: usize, line: u32, reason: Reason, detail: String) -> Problem {
        let name = self.modules.get(module).map(|module| module.name.clone()).unwrap_or_default();
        let file = self.sources.get(module).map(|source| source.file.to_owned()).unwrap_or_default();
        Problem { module: name, file, line, reason, detail }
    }

    /// Lists what is broken and what was mended.
    fn tell_faults(&mut self) {
        for (at, module) in self.modules.iter().enumerate() {
            for (line, what) in &module.faults {
                self.problem(at, *line, Reason::BrokenText, what.clone());
            }
            for import in &module.imports {
                let there = self.world.module(&import.module).is_some() || library::is_base(&import.module);
                if !there && !self.world.has(import) {
                    let detail = format!("{} is imported from {}, which is not among the modules", import.name, import.module);
                    self.problem(at, import.line, Reason::MissingImport, detail);
                }
            }
            let unresolved: Vec<Place> = (0..module.nodes.len()).map(|node| Place { module: at, node }).collect();
            for place in unresolved {
                let Some(node) = self.resolver.node(place) else { continue };
                match self.resolver.oid(place) {
                    Err(fault) if self.oid(place).is_none() && !matches!(node.role, Role::Notification { .. } | Role::Trap { .. }) => {
                        let (reason, why) = self.why(&fault);
                        self.problem(at, node.line, reason, format!("{} has no OID: {why}", node.name));
                    }
                    Ok(ours) => {
                        let theirs = self.name_of(place).and_then(|name| self.library.node(name));
                        if let Some(theirs) = theirs.filter(|theirs| theirs.oid != ours).map(|theirs| dotted(&theirs.oid)) {
                            let detail = format!("{} is {} as we read it, {theirs} as mib-rs does", node.name, dotted(&ours));
                            self.problem(at, node.line, Reason::Conflict, detail);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        for (module, file, line, detail) in &self.library.faults {
            let (module, file) = (module.clone(), file.clone());
            self.report.problems.push(Problem { module, file, line: *line, reason: Reason::BrokenText, detail: detail.clone() });
        }
        for mending in std::mem::take(&mut self.resolver.mended) {
            let mended = self.entry(mending.module, mending.line, Reason::MissingImport, mending.what);
            if !self.report.mended.contains(&mended) {
                self.report.mended.push(mended);
            }
        }
    }

    /// Holds what was resolved against an independent list of macros.
    fn tell_notifications(&mut self) {
        for (at, source) in self.sources.iter().enumerate() {
            let Some(module) = self.modules.get(at) else { continue };
            for found in scan::notifications(&source.module) {
                let node = module.nodes.iter().position(|node| {
                    node.name == found.name && node.line == found.line && matches!(node.role, Role::Notification { .. } | Role::Trap { .. })
                });
                let fault = match node {
                    None => Some((Reason::BrokenText, "its definition cannot be read".to_owned())),
                    Some(node) => self.missing(Place { module: at, node }),
                };
                let Some(report) = self.report.modules.get_mut(at) else { continue };
                report.notifications = report.notifications.saturating_add(1);
                match fault {
                    None => report.resolved = report.resolved.saturating_add(1),
                    Some((reason, detail)) => self.report.unresolved.push(Unresolved {
                        module: module.name.clone(),
                        name: found.name.to_owned(),
                        file: source.file.to_owned(),
                        line: found.line,
                        reason,
                        detail,
                    }),
                }
            }
        }
    }

    /// Returns what a notification lacks.
    fn missing(&mut self, place: Place) -> Option<(Reason, String)> {
        if self.oid(place).is_none() {
            let fault: Outcome = self.resolver.oid(place);
            let (reason, why) = fault.err().map(|fault| self.why(&fault))?;
            return Some((reason, format!("it has no OID: {why}")));
        }
        let (found, faults) = self.resolver.objects(place);
        let wanted = found.len().saturating_add(faults.len());
        let theirs = self.name_of(place).and_then(|name| self.library.node(name)).is_some_and(|node| node.objects.len() >= wanted);
        let fault = faults.first().filter(|_| !theirs)?;
        let (reason, why) = self.why(fault);
        let reason = if reason == Reason::UnknownParent && fault.module == place.module { Reason::MissingObject } else { reason };
        let more = faults.len().saturating_sub(1);
        let others = if more > 0 { format!(" (and {more} more of its objects)") } else { String::new() };
        Some((reason, format!("its object {why}{others}")))
    }

    /// Says why a name means nothing.
    fn why(&self, fault: &Fault) -> (Reason, String) {
        let module = self.modules.get(fault.module).map_or("", |module| module.name.as_str());
        let name = &fault.name;
        let here = format!("{name} (line {} of {module})", fault.line);
        match &fault.why {
            Lost::Ambiguous(modules) => {
                let mut modules = modules.clone();
                modules.dedup();
                modules.truncate(5);
                (
                    Reason::MissingImport,
                    format!("{here} is not imported, and several modules define it differently: {}", modules.join(", ")),
                )
            }
            Lost::Circular => (Reason::BrokenText, format!("{here} has an OID that rests on itself, or is none")),
            Lost::NoModule(import) => (
                Reason::MissingImport,
                format!("{here} is imported from {} (line {}), which is not among the modules", import.module, import.line),
            ),
            Lost::NotExported(import) => (
                Reason::MissingImport,
                format!("{here} is imported from {} (line {}), which does not define it", import.module, import.line),
            ),
            Lost::Unknown => (Reason::UnknownParent, format!("{here} is not defined anywhere")),
        }
    }
}

/// Leaves out what a table cannot hold.
fn cleaned(mut syntax: SyntaxDefinition) -> SyntaxDefinition {
    syntax.hint.retain(|c| (' '..='~').contains(&c));
    syntax.labels.retain(|_, label| !label.is_empty() && label.len() <= dictionary::entry::MAX_NAME_BYTES && label.is_ascii());
    syntax
}

/// Returns the name of a file without its folders and its ending.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

fn dotted(oid: &[u32]) -> String {
    oid.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// Counts, sorts and bounds.
fn finish(report: &mut Report) {
    let places: HashMap<(String, String), usize> =
        report.modules.iter().enumerate().map(|(at, module)| ((module.name.clone(), module.file.clone()), at)).collect();
    let named = report.problems.iter().map(|problem| (&problem.module, &problem.file));
    let problems: Vec<usize> = named
        .chain(report.unresolved.iter().map(|one| (&one.module, &one.file)))
        .filter_map(|(module, file)| places.get(&(module.clone(), file.clone())).copied())
        .collect();
    for at in problems {
        if let Some(module) = report.modules.get_mut(at) {
            module.problems = module.problems.saturating_add(1);
        }
    }
    report.modules.sort_by(|a, b| (&a.name, &a.file).cmp(&(&b.name, &b.file)));
    report.problems.sort_by(|a, b| (&a.module, &a.file, a.line).cmp(&(&b.module, &b.file, b.line)));
    report.problems.dedup();
    report.mended.sort_by(|a, b| (&a.module, &a.file, a.line).cmp(&(&b.module, &b.file, b.line)));
    let over = |length: usize| length.saturating_sub(MAX_ENTRIES);
    let totals = &mut report.totals;
    totals.omitted = over(report.problems.len()).saturating_add(over(report.mended.len())).saturating_add(over(report.skipped.len()));
    report.problems.truncate(MAX_ENTRIES);
    report.mended.truncate(MAX_ENTRIES);
    report.skipped.truncate(MAX_ENTRIES);
    let Totals { modules, notifications, resolved, .. } = totals;
    *modules = report.modules.len();
    *notifications = report.modules.iter().map(|module| module.notifications).sum();
    *resolved = report.modules.iter().map(|module| module.resolved).sum();
}
