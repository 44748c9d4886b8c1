//! `revision`: configurations as files, for a version control; the history, and the way back. Works beside a running server, which
//! notices what was put within a second.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use postern_protocol::revision;
use serde::Serialize;

use super::CliError;
use super::print::Form;
use crate::signer::Signer;
use crate::store::audit::By;
use crate::store::gateways::GatewayRecord;
use crate::store::revisions::NewRevision;
use crate::store::{StoreError, Stores};
use crate::{canonical, clock, line_diff, named_secrets};

/// Name of a configuration's file in a gateway's folder.
const FILE: &str = "configuration.json";

#[derive(Subcommand)]
pub(super) enum RevisionCommand {
    /// Write a configuration to a file, or those of all gateways to DIR/GATEWAY/configuration.json.
    Export(Place),
    /// Take a configuration in from a file, or those of all gateways from a folder; what says the same makes no new revision.
    Import(Place),
    /// List a gateway's revisions: number, state, who, when.
    List {
        /// The gateway.
        #[arg(long)]
        gateway: GatewayId,
        #[command(flatten)]
        form: Form,
    },
    /// Show what a revision changed.
    Changes {
        /// The gateway.
        #[arg(long)]
        gateway: GatewayId,
        /// The revision.
        #[arg(long)]
        number: u64,
    },
    /// Make the document of an earlier revision the newest again.
    Return {
        /// The gateway.
        #[arg(long)]
        gateway: GatewayId,
        /// The earlier revision.
        #[arg(long)]
        number: u64,
        #[command(flatten)]
        form: Form,
    },
}

/// Which configurations, and where their files are.
#[derive(Args)]
pub(super) struct Place {
    /// The gateway.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    gateway: Option<GatewayId>,
    /// The file; standard output or input when left out.
    #[arg(long, conflicts_with = "all")]
    file: Option<PathBuf>,
    /// All gateways of a tenant, in this folder.
    #[arg(long, value_name = "DIR", requires = "tenant")]
    all: Option<PathBuf>,
    /// The tenant; only with --all.
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    form: Form,
}

/// What an import or a return did.
#[derive(Serialize)]
struct Done {
    gateway: GatewayId,
    number: RevisionNumber,
    changed: bool,
}

pub(super) async fn run(command: RevisionCommand, stores: &Stores, signer: &Signer) -> Result<(), CliError> {
    match command {
        RevisionCommand::Export(place) => export(place, stores).await,
        RevisionCommand::Import(place) => import(place, stores, signer).await,
        RevisionCommand::List { gateway, form } => {
            let record = find(stores, &gateway).await?;
            let views = stores.tenant(&record.tenant)?.list_revisions(&gateway).await?;
            let line = |view: &crate::store::revisions::RevisionView| {
                let (number, state, by, remark) = (view.number, view.state.name(), &view.created_by, &view.remark);
                format!("{number}  {state}  {}  {by}  {remark}", crate::rfc3339::format(view.created_at))
            };
            form.print(&views, |views| views.iter().map(line).collect())
        }
        RevisionCommand::Changes { gateway, number } => changes(stores, &gateway, RevisionNumber(number)).await,
        RevisionCommand::Return { gateway, number, form } => {
            let record = find(stores, &gateway).await?;
            let found = stores.tenant(&record.tenant)?.find_revision(&gateway, RevisionNumber(number)).await?;
            let found = found.ok_or_else(|| CliError::Usage(format!("{gateway} has no revision {number}")))?;
            let done = put(stores, signer, &record, (found.document, format!("return to revision {number}"))).await?;
            report(form, &[done])
        }
    }
}

async fn find(stores: &Stores, gateway: &GatewayId) -> Result<GatewayRecord, CliError> {
    stores.system().find_gateway(gateway).await?.ok_or_else(|| CliError::Usage(format!("there is no gateway {gateway}")))
}

/// Returns the canonical form of a gateway's newest document; `None` before the first.
async fn desired(stores: &Stores, record: &GatewayRecord) -> Result<Option<String>, CliError> {
    let Some(desired) = stores.tenant(&record.tenant)?.desired(&record.id).await? else { return Ok(None) };
    let text = canonical::canonical(&desired.document);
    text.map(Some).map_err(|_| CliError::Usage(format!("the newest document of {} is not JSON: it was forced past the check", record.id)))
}

async fn export(place: Place, stores: &Stores) -> Result<(), CliError> {
    let Some(folder) = place.all else {
        let record = find(stores, &required(place.gateway)?).await?;
        let text = desired(stores, &record).await?.ok_or_else(|| CliError::Usage(format!("{} has no revision yet", record.id)))?;
        return match place.file {
            Some(path) => write(&path, &text),
            None => super::print::text(text.trim_end()),
        };
    };
    let mut written = 0_usize;
    for record in stores.system().list_gateways(place.tenant.as_ref()).await?.into_iter().filter(|record| record.revoked_at.is_none()) {
        let Some(text) = desired(stores, &record).await? else { continue };
        let own = folder.join(record.id.as_str());
        std::fs::create_dir_all(&own).map_err(|source| CliError::File { path: own.clone(), source })?;
        write(&own.join(FILE), &text)?;
        written = written.saturating_add(1);
    }
    let said = format!("{written} configurations are in {}", folder.display());
    place.form.print(&serde_json::json!({ "written": written }), |_| vec![said])
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|source| CliError::File { path: path.to_owned(), source })
}

async fn import(place: Place, stores: &Stores, signer: &Signer) -> Result<(), CliError> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())));
    let Some(folder) = place.all else {
        let record = find(stores, &required(place.gateway)?).await?;
        let text = match place.file {
            Some(path) => read(&path)?,
            None => {
                std::io::read_to_string(std::io::stdin()).map_err(|error| CliError::Usage(format!("cannot read: {error}")))?.into_bytes()
            }
        };
        let done = take(stores, signer, &record, text).await?;
        return report(place.form, &[done]);
    };
    let mut files = Vec::new();
    for record in stores.system().list_gateways(place.tenant.as_ref()).await?.into_iter().filter(|record| record.revoked_at.is_none()) {
        let path = folder.join(record.id.as_str()).join(FILE);
        if path.exists() {
            let text = read(&path)?;
            // All of them first: a folder is taken in whole, or not at all.
            check(stores, &record, &text).await?;
            files.push((record, text));
        }
    }
    let mut done = Vec::new();
    for (record, text) in files {
        done.push(take(stores, signer, &record, text).await?);
    }
    report(place.form, &done)
}

/// Takes a file in unless it says what the newest revision says.
async fn take(stores: &Stores, signer: &Signer, record: &GatewayRecord, text: Vec<u8>) -> Result<Done, CliError> {
    let present = stores.tenant(&record.tenant)?.desired(&record.id).await?;
    match present.filter(|present| canonical::same(&present.document, &text)) {
        Some(present) => Ok(Done { gateway: record.id.clone(), number: present.view.number, changed: false }),
        None => put(stores, signer, record, (text, "from a file".to_owned())).await,
    }
}

async fn put(stores: &Stores, signer: &Signer, record: &GatewayRecord, what: (Vec<u8>, String)) -> Result<Done, CliError> {
    let (document, remark) = what;
    check(stores, record, &document).await?;
    if record.revoked_at.is_some() {
        return Err(StoreError::Conflict(format!("{} is revoked", record.id)).into());
    }
    let by = By::command_line();
    let at_least = RevisionNumber(1);
    let new = NewRevision { gateway: record.id.clone(), document, by, remark, rollout: None, at_least, at: clock::now() };
    let number = stores.tenant(&record.tenant)?.put_revision(new, signer).await?;
    Ok(Done { gateway: record.id.clone(), number, changed: true })
}

async fn check(stores: &Stores, record: &GatewayRecord, text: &[u8]) -> Result<(), CliError> {
    let problems = match revision::parse(text) {
        Ok(document) => {
            let versions = stores.tenant(&record.tenant)?.secret_versions(&record.id).await?;
            let known = versions.into_iter().map(|(name, _)| name).collect();
            named_secrets::problems(&named_secrets::named(&document), &known, text)
        }
        Err(problems) => problems,
    };
    if problems.is_empty() {
        return Ok(());
    }
    let line = |problem: &revision::Problem| format!("{}:{} {}: {}", problem.line, problem.column, problem.path, problem.reason);
    let all: Vec<String> = problems.iter().map(line).collect();
    Err(CliError::Usage(format!("the document for {} is not good:\n{}", record.id, all.join("\n"))))
}

async fn changes(stores: &Stores, gateway: &GatewayId, number: RevisionNumber) -> Result<(), CliError> {
    let record = find(stores, gateway).await?;
    let store = stores.tenant(&record.tenant)?;
    let revision = store.find_revision(gateway, number).await?;
    let revision = revision.ok_or_else(|| CliError::Usage(format!("{gateway} has no revision {number}")))?;
    let before = store.list_revisions(gateway).await?.into_iter().map(|view| view.number).find(|earlier| *earlier < number);
    let text = |document: &[u8]| canonical::canonical(document).unwrap_or_else(|_| String::from_utf8_lossy(document).into_owned());
    let old = match before {
        Some(before) => store.find_revision(gateway, before).await?.map(|revision| text(&revision.document)).unwrap_or_default(),
        None => String::new(),
    };
    let lines = line_diff::diff(&old, &text(&revision.document)).into_iter().flat_map(|hunk| {
        let first = hunk.lines.first().map(|line| format!("@@ {} {} @@", line.old.unwrap_or(0), line.new.unwrap_or(0)));
        first.into_iter().chain(hunk.lines.into_iter().map(|line| match line.side {
            line_diff::Side::Added => format!("+{}", line.text),
            line_diff::Side::Both => format!(" {}", line.text),
            line_diff::Side::Removed => format!("-{}", line.text),
        }))
    });
    super::print::text(&lines.collect::<Vec<_>>().join("\n"))
}

fn required(gateway: Option<GatewayId>) -> Result<GatewayId, CliError> {
    gateway.ok_or_else(|| CliError::Usage("name a gateway with --gateway, or a folder with --all".to_owned()))
}

fn report(form: Form, done: &[Done]) -> Result<(), CliError> {
    let line = |one: &Done| {
        let what = if one.changed { "saved as" } else { "says what is saved as" };
        format!("{}: {what} revision {}", one.gateway, one.number)
    };
    form.print(&done, |done| done.iter().map(line).collect())
}
