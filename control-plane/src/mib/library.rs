//! Asks mib-rs what it makes of the modules: the only place that knows it.
//!
//! It is strict where vendors are not: `resolve` has the last word, and what both see differently is told.

use std::collections::HashMap;
use std::ops::Range;

use mib_rs::{BaseType, DiagnosticConfig, Loader, Mib, Object, ResolverStrictness, Severity};
use postern_protocol::dictionary::builder::SyntaxDefinition;
use postern_protocol::dictionary::entry::Class;

/// Its recursion follows the modules' nesting.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Modules that define the SMI itself; mib-rs brings them along, and we need none of them.
const BASE: [&str; 8] = ["RFC1065-SMI", "RFC1155-SMI", "RFC-1212", "RFC-1215", "SNMPv2-SMI", "SNMPv2-TC", "SNMPv2-CONF", "RFC1158-MIB"];

/// Its codes for text that is not what the grammar allows.
const BROKEN: [&str; 4] = ["parse-error", "unexpected-character", "unterminated-hex-bin-string", "unterminated-string"];

/// What mib-rs says of a definition.
#[derive(Clone, Debug)]
pub(super) struct LibraryNode {
    pub(super) oid: Vec<u32>,
    pub(super) syntax: Option<SyntaxDefinition>,
    /// Of a notification.
    pub(super) objects: Vec<Vec<u32>>,
}

/// A broken piece of text: module, file, line, what is wrong.
pub(super) type LibraryFault = (String, String, u32, String);

/// What mib-rs says of all modules.
#[derive(Debug, Default)]
pub(super) struct Library {
    nodes: HashMap<String, HashMap<String, LibraryNode>>,
    pub(super) faults: Vec<LibraryFault>,
}

impl Library {
    pub(super) fn node(&self, (module, name): (&str, &str)) -> Option<&LibraryNode> {
        self.nodes.get(module)?.get(name)
    }
}

/// Returns whether `module` defines the SMI itself.
pub(super) fn is_base(module: &str) -> bool {
    BASE.contains(&module)
}

/// Asks about modules, given by name, file, the file's text and where in it they are.
pub(super) fn ask<'t>(modules: impl Iterator<Item = (&'t str, &'t str, &'t str, Range<usize>)>) -> Library {
    let mut files = HashMap::new();
    let mut texts = Vec::new();
    for (name, file, text, range) in modules {
        // The lines before are kept as empty ones, so that its line numbers are the file's.
        let before = text.as_bytes().get(..range.start).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        texts.push((name.to_owned(), format!("{}{}\n", "\n".repeat(before), text.get(range).unwrap_or_default()).into_bytes()));
        files.insert(name.to_owned(), file.to_owned());
    }
    // On a thread of its own: what panics or nests deeply there costs us only its opinion.
    let asked = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || load(texts, &files));
    match asked.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(library))) => library,
        Ok(Ok(Err(error))) => failed(&error),
        Ok(Err(_)) => failed("it panicked"),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> Library {
    let fault = (String::new(), String::new(), 0, format!("mib-rs gave up, so that only our own reading counts: {why}"));
    Library { faults: vec![fault], ..Library::default() }
}

fn load(texts: Vec<(String, Vec<u8>)>, files: &HashMap<String, String>) -> Result<Library, String> {
    // By default one broken module fails all of them.
    let config = DiagnosticConfig { fail_at: Severity::Fatal, ..DiagnosticConfig::default() };
    let loader = Loader::new().source(mib_rs::source::memory_modules(texts)).diagnostic_config(config);
    let mib = loader.resolver_strictness(ResolverStrictness::Permissive).parallelism(1).load().map_err(|error| error.to_string())?;
    let mut library = Library { nodes: HashMap::new(), faults: faults(&mib, files) };
    for module in mib.modules() {
        let nodes = library.nodes.entry(module.name().to_owned()).or_default();
        for object in module.objects() {
            if let Some(node) = object.node() {
                let node = LibraryNode { oid: node.oid().to_vec(), syntax: syntax(&object), objects: Vec::new() };
                nodes.insert(object.name().to_owned(), node);
            }
        }
    }
    for notification in mib.notifications() {
        let (Some(node), Some(module)) = (notification.node(), notification.module()) else { continue };
        let objects = notification.objects().filter_map(|object| Some(object.node()?.oid().to_vec())).collect();
        let known = LibraryNode { oid: node.oid().to_vec(), syntax: None, objects };
        library.nodes.entry(module.name().to_owned()).or_default().insert(notification.name().to_owned(), known);
    }
    Ok(library)
}

fn syntax(object: &Object<'_>) -> Option<SyntaxDefinition> {
    let of = object.ty()?;
    let class = match of.effective_base() {
        BaseType::Integer32 => Class::Integer,
        BaseType::Unsigned32 | BaseType::Gauge32 => Class::Gauge,
        BaseType::Counter32 | BaseType::Counter64 => Class::Counter,
        BaseType::TimeTicks => Class::TimeTicks,
        BaseType::IpAddress => Class::IpAddress,
        BaseType::OctetString => Class::OctetString,
        BaseType::ObjectIdentifier => Class::Oid,
        BaseType::Bits => Class::Bits,
        BaseType::Opaque => Class::Opaque,
        _ => Class::Other,
    };
    let named = object.effective_enums().iter().chain(object.effective_bits());
    let labels = named.filter_map(|named| Some((i32::try_from(named.value).ok()?, named.label.clone()))).collect();
    Some(SyntaxDefinition { class, hint: object.effective_display_hint().to_owned(), labels })
}

/// Takes what is wrong with the text itself from among what mib-rs has to say about style.
fn faults(mib: &Mib, files: &HashMap<String, String>) -> Vec<LibraryFault> {
    let report = mib.diagnostic_report();
    let broken = report.iter().filter(|entry| BROKEN.contains(&entry.diagnostic().code.to_string().as_str()));
    let told = broken.map(|entry| {
        let module = entry.diagnostic().module.clone().unwrap_or_default();
        let line = entry.byte_positions().ok().flatten().map_or(0, |(begin, _)| begin.line().saturating_add(1));
        let file = files.get(&module).cloned().unwrap_or_default();
        (module, file, line, entry.diagnostic().message.clone())
    });
    told.collect()
}
