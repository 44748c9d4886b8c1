//! MIB modules, compiled in the child process: a whole collection as vendors ship it, an upload that leans on the built-in names, and
//! what is no module at all.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use postern_control::mib::compiler::{CompileError, Compiled, Compiler, Limits};
use postern_control::mib::report::Reason;
use postern_protocol::dictionary::built_in;
use postern_protocol::dictionary::entry::Kind;
use postern_protocol::dictionary::table::Table;

const COLLECTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mibs.tar.xz");

fn compiler(limits: Limits) -> Compiler {
    Compiler::new(PathBuf::from(env!("CARGO_BIN_EXE_postern-control")), limits)
}

async fn compile(archives: &[Bytes]) -> Compiled {
    compiler(Limits::default()).compile(archives).await.unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Bytes {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner().into()
}

#[tokio::test]
async fn a_whole_collection_compiles_and_nothing_is_lost_in_silence() {
    if !Path::new(COLLECTION).exists() {
        eprintln!("skipped: there is no collection of modules at {COLLECTION}");
        return;
    }
    let archive = Bytes::from(std::fs::read(COLLECTION).unwrap());
    let Compiled { table, report } = compile(std::slice::from_ref(&archive)).await;
    let totals = &report.totals;
    println!(
        "{} modules, {} of {} notifications whole, {} OIDs in {} bytes, {} ms, {} MiB at most",
        totals.modules,
        totals.resolved,
        totals.notifications,
        totals.entries,
        totals.table_bytes,
        totals.milliseconds,
        totals.peak_bytes / 1024 / 1024
    );

    // Every module loads.
    assert_eq!(report.skipped, []);
    assert!(totals.files >= 1095 && totals.modules >= totals.files, "{totals:?}");
    assert!(report.modules.iter().filter(|module| module.entries > 0).count() >= 1000);

    // What is not whole is listed; all else is in the table.
    assert!(totals.resolved * 100 >= totals.notifications * 96, "{totals:?}");
    assert_eq!(report.unresolved.len(), totals.notifications - totals.resolved);
    assert!(report.unresolved.iter().all(|one| one.line > 0 && !one.module.is_empty() && !one.detail.is_empty()));

    // An independent scan finds no notification that the report does not count.
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for module in &report.modules {
        *counted.entry(&module.file).or_default() += module.notifications;
    }
    let mut tar = tar::Archive::new(lzma_rust2::XzReader::new(&archive[..], true));
    let mut scanned = 0;
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        let found = macros(&bytes.iter().copied().map(char::from).collect::<String>());
        scanned += found;
        assert!(counted.get(name.as_str()).copied().unwrap_or_default() >= found, "{name}: a scan finds {found}");
    }
    assert!(scanned > 7_500, "{scanned}");

    let table = Table::parse(table.into()).unwrap();
    assert!(totals.table_bytes <= 8 * 1024 * 1024 && table.len() == totals.entries);
    built_in_names_are_those_of(&table);
}

/// Counts macros of notifications as a reader would who knows nothing but comments and texts.
fn macros(text: &str) -> usize {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("--").into_iter().chain(rest.find('"')).min() {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        plain.push(' ');
        rest = match from.strip_prefix('"') {
            Some(inside) => inside.split_once('"').map_or("", |(_, after)| after),
            None => {
                let comment = &from[2..];
                let end = [comment.find('\n'), comment.find("--").map(|end| end + 2)].into_iter().flatten().min();
                &comment[end.unwrap_or(comment.len())..]
            }
        };
    }
    plain.push_str(rest);
    let words: Vec<&str> = plain.split_whitespace().collect();
    let clauses = ["OBJECTS", "STATUS", "ENTERPRISE", "VARIABLES", "DESCRIPTION", "REFERENCE"];
    let is_macro =
        |words: &[&str]| matches!(words[1], "NOTIFICATION-TYPE" | "TRAP-TYPE") && clauses.iter().any(|clause| words[2].starts_with(clause));
    words.windows(3).filter(|words| is_macro(words)).count()
}

fn built_in_names_are_those_of(table: &Table) {
    let theirs: BTreeMap<_, _> = table.definitions().map(|one| (one.oid.clone(), one)).collect();
    let modules: BTreeSet<&str> = theirs.values().map(|one| one.module.as_str()).collect();
    let mut differences = Vec::new();
    let mut compared = 0;
    for ours in built_in::table().definitions().filter(|ours| modules.contains(ours.module.as_str())) {
        let Some(theirs) = theirs.get(&ours.oid) else {
            // Older editions of a module have fewer places in the tree.
            if ours.kind != Kind::Node {
                differences.push(format!("{} of {} ({}) is nowhere", ours.name, ours.module, ours.oid));
            }
            continue;
        };
        // Another module's name for it is another fact.
        if theirs.module != ours.module {
            continue;
        }
        compared += 1;
        if theirs.name != ours.name {
            differences.push(format!("{} of {} ({}) is {}", ours.name, ours.module, ours.oid, theirs.name));
            continue;
        }
        if theirs.kind != ours.kind && ours.kind != Kind::Node {
            differences.push(format!("{} is a {:?}, not a {:?}", ours.name, theirs.kind, ours.kind));
        }
        if let (Some(our), Some(their)) = (&ours.syntax, &theirs.syntax) {
            for (number, label) in &our.labels {
                if their.labels.get(number) != Some(label) {
                    differences.push(format!("{} calls {number} {:?}, not {label}", ours.name, their.labels.get(number)));
                }
            }
            if our.class != their.class {
                differences.push(format!("{} is {:?}, not {:?}", ours.name, their.class, our.class));
            }
        }
        // A later edition may add some.
        if !theirs.objects.starts_with(&ours.objects) {
            differences.push(format!(
                "{} has other objects: {:?}",
                ours.name,
                theirs.objects.iter().map(ToString::to_string).collect::<Vec<_>>()
            ));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(compared > 300, "{compared}");
}

#[tokio::test]
async fn an_upload_leans_on_the_built_in_names_and_says_what_is_missing() {
    let module = br#"ACME-TRAP-MIB DEFINITIONS ::= BEGIN
IMPORTS NOTIFICATION-TYPE, OBJECT-TYPE, enterprises FROM SNMPv2-SMI
    ifIndex FROM IF-MIB
    acmeSecret FROM ACME-HIDDEN-MIB;
acme OBJECT IDENTIFIER ::= { enterprises 32473 }
acmeFan OBJECT-TYPE SYNTAX INTEGER { ok(1), broken(2) } MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { acme 1 }
acmeFanBroken NOTIFICATION-TYPE OBJECTS { acmeFan, ifIndex } STATUS current DESCRIPTION "a -- b" ::= { acme 0 1 }
acmeHidden NOTIFICATION-TYPE OBJECTS { acmeFan, acmeSecret } STATUS current DESCRIPTION "y" ::= { acme 0 2 }
acmeLost NOTIFICATION-TYPE STATUS current DESCRIPTION "z" ::= { nowhere 3 }
-- acmeNever NOTIFICATION-TYPE STATUS current
acmeOld TRAP-TYPE ENTERPRISE acme VARIABLES { acmeFan } ::= 7
END"#;
    let Compiled { table, report } = compile(&[zip(&[("mibs/acme.txt", module), ("readme.pdf", b"x")])]).await;
    let totals = &report.totals;
    assert_eq!((totals.modules, totals.notifications, totals.resolved), (1, 4, 2), "{report:#?}");
    let unresolved: Vec<_> = report.unresolved.iter().map(|one| (one.name.as_str(), one.line, one.reason)).collect();
    assert_eq!(unresolved, [("acmeHidden", 8, Reason::MissingImport), ("acmeLost", 9, Reason::UnknownParent)]);
    assert!(
        report.problems.iter().any(|problem| problem.line == 4 && problem.detail.contains("ACME-HIDDEN-MIB")),
        "{:#?}",
        report.problems
    );
    assert_eq!(report.skipped.len(), 1);
    let table = Table::parse(table.into()).unwrap();
    for (oid, name) in [(&[1, 3, 6, 1, 4, 1, 32473, 0, 1][..], "acmeFanBroken"), (&[1, 3, 6, 1, 4, 1, 32473, 0, 7], "acmeOld")] {
        assert_eq!(table.notification(oid).map(|entry| entry.name).as_deref(), Some(name));
    }
    let fan = table.longest_prefix(&[1, 3, 6, 1, 4, 1, 32473, 1, 0]).unwrap();
    assert_eq!((fan.kind, fan.syntax.and_then(|syntax| syntax.label(2))), (Kind::Scalar, Some("broken")));
}

#[tokio::test]
async fn vendors_faults_are_mended_and_said() {
    let parent =
        b"ACME-SMI DEFINITIONS ::= BEGIN IMPORTS enterprises FROM RFC1155-SMI; acmeRoot OBJECT IDENTIFIER ::= { enterprises 32473 } END";
    let module = b"\xef\xbb\xbfACME_X_MIB DEFINITIONS ::= BEGIN\r\nIMPORTS acmeRoot FROM ACME-SMI-V1  sysDescr FROM RFC-1213\r\n  TRAP-TYPE FROM RFC-1215;\r\n\
        acme_Load OBJECT-TYPE SYNTAX INTEGER ACCESS read-only STATUS mandatory DESCRIPTION \"caf\xe9\" ::= { AcmeRoot 4 }\r\n\
        trapA TRAP-TYPE ENTERPRISE { acmeRoot 9 } VARIABLES { acme-load, sysDescr } DESCRIPTION \"no end\r\n  ::= 1\r\n\
        trapB TRAP-TYPE ENTERPRISE acmeroot VARIABLES { sysDescr } DESCRIPTION \"good\"\r\n  ::= 2\r\nEND\r\n\x1a";
    let Compiled { table, report } = compile(&[zip(&[("x.my", module), ("y.my", parent)])]).await;
    assert_eq!((report.totals.notifications, report.totals.resolved), (2, 2), "{report:#?}");
    assert!(report.mended.iter().any(|one| one.detail.contains("acmeRoot is imported from ACME-SMI-V1")), "{:#?}", report.mended);
    let table = Table::parse(table.into()).unwrap();
    assert!(
        table.notification(&[1, 3, 6, 1, 4, 1, 32473, 9, 0, 1]).is_some() && table.notification(&[1, 3, 6, 1, 4, 1, 32473, 0, 2]).is_some()
    );
}

#[tokio::test]
async fn what_is_no_archive_and_what_takes_too_much_is_told() {
    let refused = compiler(Limits::default()).compile(&[Bytes::from_static(b"PK\x03\x04nothing")]).await;
    assert!(matches!(&refused, Err(CompileError::Archive(why)) if why.contains("cannot be read")), "{refused:?}");
    let small = Limits { memory_bytes: 64 * 1024 * 1024, ..Limits::default() };
    let module = zip(&[("a", b"A DEFINITIONS ::= BEGIN END")]);
    let died = compiler(small).compile(std::slice::from_ref(&module)).await;
    assert!(matches!(died, Ok(_) | Err(CompileError::Died(_) | CompileError::Child(_))), "{died:?}");
    let short = Limits { time: Duration::from_nanos(1), ..Limits::default() };
    let late = compiler(short).compile(&[module]).await;
    assert!(matches!(late, Err(CompileError::TimedOut(_))), "{late:?}");
    assert!(compile(&[]).await.report.modules.is_empty());
}
