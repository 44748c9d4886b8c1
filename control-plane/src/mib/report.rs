//! What came of a compilation: every module, and everything about it that an admin should know.

use serde::{Deserialize, Serialize};

/// Most entries of each list of a [`Report`] but of `modules` and `unresolved`, which are whole; `omitted` counts the rest.
pub const MAX_ENTRIES: usize = 10_000;

/// What came of a compilation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Sums.
    pub totals: Totals,
    /// Every module that was found, by name.
    pub modules: Vec<ModuleReport>,
    /// Every notification that is defined somewhere and has no OID, or lacks one of its objects.
    pub unresolved: Vec<Unresolved>,
    /// What is wrong and could not be mended.
    pub problems: Vec<Problem>,
    /// What was wrong and is mended.
    pub mended: Vec<Problem>,
    /// Files of the upload that were left out, and why.
    pub skipped: Vec<SkippedFile>,
}

/// Sums of a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Files that were read.
    pub files: usize,
    /// Modules.
    pub modules: usize,
    /// Notifications that a scan for their macros finds, each module's once.
    pub notifications: usize,
    /// Those with an OID and all their objects.
    pub resolved: usize,
    /// OIDs in the table.
    pub entries: usize,
    /// OIDs that more than one module names; the table has the one of the better module.
    pub duplicate_oids: usize,
    /// Bytes of the table.
    pub table_bytes: usize,
    /// SHA-256 of the table in hexadecimal.
    pub digest: String,
    /// Entries that the lists `problems`, `mended` and `skipped` have no room for.
    pub omitted: usize,
    /// Milliseconds that it took.
    pub milliseconds: u64,
    /// Most memory that it took.
    pub peak_bytes: u64,
}

/// One module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// Its name, as it says itself.
    pub name: String,
    /// The file that it is in.
    pub file: String,
    /// 1 or 2: the version of the SMI that it is written in.
    pub smi: u8,
    /// OIDs that it names.
    pub entries: usize,
    /// Notifications that it defines.
    pub notifications: usize,
    /// Those with an OID and all their objects.
    pub resolved: usize,
    /// Entries in `problems` and `unresolved`.
    pub problems: usize,
}

/// A notification that is not whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unresolved {
    /// The module.
    pub module: String,
    /// The notification.
    pub name: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// What kind of fault it is.
    pub reason: Reason,
    /// What is missing, in a sentence.
    pub detail: String,
}

/// Something that is wrong with a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The module.
    pub module: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// What kind of fault it is.
    pub reason: Reason,
    /// What it is, in a sentence.
    pub detail: String,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The text is not what the SMI's grammar allows.
    BrokenText,
    /// Two modules disagree about an OID or a name.
    Conflict,
    /// A module that is imported from is not there, or does not have the name.
    MissingImport,
    /// A notification's object is not defined anywhere.
    MissingObject,
    /// The OID begins with a name that nothing defines.
    UnknownParent,
    /// A type that nothing defines.
    UnknownType,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// The file.
    pub file: String,
    /// Why, in a sentence.
    pub why: String,
}
