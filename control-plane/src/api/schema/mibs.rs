//! MIB modules and OIDs that nothing names.

use utoipa::ToSchema;

/// The archives of a tenant, and what became of the modules in them.
#[derive(ToSchema)]
pub struct Modules {
    /// Oldest first; where two have a module of the same name, the later one counts.
    pub archives: Vec<Archive>,
    /// SHA-256 of the table that gateways get, hexadecimal; null before the first upload.
    #[schema(required)]
    pub digest: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, required)]
    pub made_at: Option<String>,
    /// Who brought it about.
    #[schema(required)]
    pub made_by: Option<String>,
    /// Sums.
    pub totals: MibTotals,
    /// Every module, by name.
    pub modules: Vec<MibModule>,
    /// Every notification that is defined somewhere and has no OID, or lacks one of its objects.
    pub unresolved: Vec<UnresolvedNotification>,
    /// What is wrong and could not be mended.
    pub problems: Vec<MibProblem>,
    /// What was wrong and is mended.
    pub mended: Vec<MibProblem>,
    /// Files that were left out.
    pub skipped: Vec<SkippedFile>,
}

/// An archive that was uploaded.
#[derive(ToSchema)]
pub struct Archive {
    /// Its number.
    pub number: i64,
    /// The file's name.
    pub name: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// When it was uploaded.
    #[schema(format = DateTime)]
    pub uploaded_at: String,
    /// Who uploaded it.
    pub uploaded_by: String,
}

/// What an upload led to.
#[derive(ToSchema)]
pub struct Compiled {
    /// Sums over all archives.
    pub totals: MibTotals,
}

/// Sums of a compilation.
#[derive(ToSchema)]
pub struct MibTotals {
    /// Files that were read.
    pub files: u64,
    /// Modules.
    pub modules: u64,
    /// Notifications that the modules' texts define.
    pub notifications: u64,
    /// Those with an OID and all their objects.
    pub resolved: u64,
    /// OIDs in the table.
    pub entries: u64,
    /// OIDs that more than one module names.
    pub duplicate_oids: u64,
    /// Bytes of the table.
    pub table_bytes: u64,
    /// SHA-256 of the table in hexadecimal.
    pub digest: String,
    /// Entries of `problems`, `mended` and `skipped` that were left out.
    pub omitted: u64,
    /// Milliseconds that it took.
    pub milliseconds: u64,
    /// Most memory that it took.
    pub peak_bytes: u64,
}

/// One module.
#[derive(ToSchema)]
pub struct MibModule {
    /// Its name.
    pub name: String,
    /// The file that it is in.
    pub file: String,
    /// 1 or 2: the version of the SMI that it is written in.
    pub smi: u8,
    /// OIDs that it names.
    pub entries: u64,
    /// Notifications that it defines.
    pub notifications: u64,
    /// Those with an OID and all their objects.
    pub resolved: u64,
    /// How much is wrong with it.
    pub problems: u64,
}

/// A notification that is not whole.
#[derive(ToSchema)]
pub struct UnresolvedNotification {
    /// The module.
    pub module: String,
    /// The notification.
    pub name: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// What kind of fault it is.
    pub reason: MibFault,
    /// What is missing.
    pub detail: String,
}

/// Something that is wrong with a module.
#[derive(ToSchema)]
pub struct MibProblem {
    /// The module.
    pub module: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// What kind of fault it is.
    pub reason: MibFault,
    /// What it is.
    pub detail: String,
}

/// Kinds of faults.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum MibFault {
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
#[derive(ToSchema)]
pub struct SkippedFile {
    /// The file.
    pub file: String,
    /// Why.
    pub why: String,
}

/// OIDs that nothing names.
#[derive(ToSchema)]
pub struct UnknownOids {
    /// Most frequent first.
    pub items: Vec<UnknownOid>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// An OID that nothing names, at one gateway.
#[derive(ToSchema)]
pub struct UnknownOid {
    /// The notification's OID.
    pub oid: String,
    /// The gateway.
    pub gateway: String,
    /// How many since it was first seen.
    pub count: u64,
    /// When that was.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When the last one came.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// A source that sends it.
    pub source: String,
    /// What is known of it.
    pub explanation: OidExplanation,
}

/// What is known of an OID without a name.
#[derive(ToSchema)]
pub struct OidExplanation {
    /// The notification's name, when an uploaded module defines it.
    #[schema(required)]
    pub name: Option<String>,
    /// The module that defines it, or that names the place above it.
    #[schema(required)]
    pub module: Option<String>,
    /// The name of the nearest place above it that has one.
    #[schema(required)]
    pub above: Option<String>,
    /// What to do.
    pub advice: String,
}
