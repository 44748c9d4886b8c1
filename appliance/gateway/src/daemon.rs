//! `run`: opens everything in order, spawns the tasks, and waits for the stop.
//!
//! The order matters. Sockets are bound first, by [`Opened`], so that what arrives meanwhile waits in the kernel; the spool comes
//! before the status socket, because its lock says that no other daemon runs. At the stop the receivers end first, then the pipeline, which
//! closes the spool.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use postern_engine::event::Protocol;
use postern_protocol::revision::document::Document;
use postern_protocol::status::intake::SnmpEngine;
use postern_protocol::status::{IdentityState, Sandbox, Status};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::identity::Identity;
use postern_uplink::spool::{Spool, SpoolOptions, fresh_epoch};
use postern_uplink::tasks::Tasks;
use postern_uplink::tls::Certified;
use postern_uplink::tunnel::tap::Tap;
use postern_uplink::tunnel::{self, BackOff, GreetingFacts, TunnelOptions};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::audit::action::Action;
use crate::audit::upload::{self, Upload};
use crate::balance::Balance;
use crate::canary::probe::{Probe, Target};
use crate::canary::{self, Canary, Path};
use crate::config::{ClientDemand, Config};
use crate::control::trial::{Link, first_link};
use crate::control::{Control, clock};
use crate::descriptors;
use crate::dictionary::Names;
use crate::doctor::watch::{Kept, Watch};
use crate::events::Events;
use crate::identity::incarnation::Incarnation;
use crate::identity::live::{Refresh, live};
use crate::identity::trusted::Trusted;
use crate::identity::{self, Keeper};
use crate::intake::{self, Digests};
use crate::inventory::Machine;
use crate::listener_certificate::ListenerCertificate;
use crate::listeners::Listeners;
use crate::outbound::{self, Viewer};
use crate::pipeline::local::{self, State};
use crate::pipeline::milestones::Milestones;
use crate::pipeline::{Order, Parts, Pipeline, PipelineFacts};
use crate::proxy::agents::Agents;
use crate::receivers::snmp_trap::UsmStart;
use crate::receivers::{self, ListenerFacts, Sockets, reply, udp};
use crate::replay::live::{self, Replayer, Stage};
use crate::revision::compile::Compiled;
use crate::revision::signers::Signers;
use crate::revision::veto::Veto;
use crate::revision::{Mode, Opening, Revisions, Start};
use crate::ring::{self, Reader};
use crate::rule_report::{RuleCounter, RuleReporter};
use crate::sandbox;
use crate::service::{self, Notifier, PassedSockets};
use crate::site::{Settings, Site};
use crate::snmp_engine::OwnEngine;
use crate::status::{Contributions, Reporter, StatusSocket};
use crate::vault::{Owner, Vault, credentials_directory};

/// Time for draining at the stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Messages that wait between tunnel and daemon; full: incoming ones make the tunnel wait, outgoing ones are dropped and come again.
const CONTROL_QUEUE: usize = 64;

/// What reports say in safe mode.
const SAFE: &str =
    "safe mode: the last confirmed revision is in force, or the built-in rules where there is none; nothing pushed is applied";

/// What the daemon must have opened before its sandbox closes.
pub struct Opened {
    machine: Machine,
    sockets: Sockets,
    engine: Option<OwnEngine>,
}

impl Opened {
    /// Binds every listener that `config` has, or takes it from `passed`; counts this start of our own SNMP engine.
    ///
    /// # Errors
    /// The first socket that cannot be had, or an engine that cannot be kept.
    pub fn new(config: &Config, passed: PassedSockets) -> anyhow::Result<Self> {
        let sockets = receivers::bind(config, passed.0)?;
        let engine = match &config.snmp_trap {
            None => None,
            Some(_) => {
                crate::create_private_dir(&config.data_dir)?;
                Some(OwnEngine::start(&config.snmp_engine_file())?)
            }
        };
        Ok(Self { machine: Machine::observe(&config.data_dir), sockets, engine })
    }
}

impl Opened {
    /// Returns the TCP ports on which the daemon listens, which its sandbox lets it connect to.
    pub fn tcp_ports(&self) -> Vec<u16> {
        self.sockets.tcp_ports()
    }
}

/// What was decided before the daemon's first thread.
pub struct RunOptions {
    /// Whether revisions are used.
    pub mode: Mode,
    /// The listeners.
    pub opened: Opened,
    /// What was given up, for reports.
    pub sandbox: Sandbox,
}

/// Runs the daemon until `stop` is cancelled, then drains and closes everything.
///
/// # Errors
/// What keeps it from starting, or the first task that failed.
pub async fn run(mut config: Config, options: RunOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let started = Instant::now();
    descriptors::fit(&mut config, descriptors::limit()?);
    crate::create_private_dir(&config.data_dir)?;
    let identity = Arc::new(Identity::load(&config.identity_dir()).context("this gateway has no identity yet; run postern-gateway enrol")?);
    let certificate = ListenerCertificate::choose(&config, &identity)?;
    let Opened { machine, sockets, engine: own_engine } = options.opened;
    let kernel_drops = sockets.kernel_drops.clone();
    let (trusted, trusted_view) = watch::channel(Trusted::from(&*identity));
    let signers = Signers { gateway: identity.gateway.clone(), trusted: trusted_view.clone() };
    let veto = Veto::new(config.forbidden_fields.clone());
    let owner = Owner { tenant: identity.tenant.clone(), gateway: identity.gateway.clone() };
    let vault_dir = config.vault_dir();
    let vault = tokio::task::spawn_blocking(move || Vault::open(&vault_dir, credentials_directory().as_deref(), owner)).await?;
    let vault = vault.context("the vault cannot be opened")?;
    let opening = Opening { signers: signers.clone(), veto, mode: options.mode, now: clock::now() };
    let (revisions, Start { compiled: Compiled { document, rules }, taken_back }) = Revisions::open(&config.revisions_dir(), opening)?;
    let bootstrap = LinkSettings { further: identity.addresses.clone(), ..config.link() };
    let (link, link_view) = watch::channel(first_link(&bootstrap, document.uplink.as_ref(), &vault));
    let (warn_below_hours, warn_below_view) = watch::channel(document.warn_below_hours());
    let site = first_site(&document, vault.clone()).await?;
    let (names_dir, names_signers) = (config.dictionary_dir(), signers.clone());
    let (names, dictionary) = tokio::task::spawn_blocking(move || Names::open(&names_dir, names_signers)).await??;

    let audit_dir = config.audit_dir();
    let audit = tokio::task::spawn_blocking(move || Audit::open(&audit_dir)).await?;
    let audit = audit.context("the audit log cannot be opened")?;

    let now = Timestamp::from(SystemTime::now());
    let spool_options = SpoolOptions {
        dir: config.spool_dir(),
        segment_bytes: config.spool_segment_bytes,
        max_bytes: config.spool_max_bytes,
        machine_key: vault.spool_key().clone(),
    };
    let epoch = fresh_epoch()?;
    let opened = tokio::task::spawn_blocking(move || Spool::open(spool_options, epoch, now)).await?;
    let (spool, recovered, spool_writer) = opened.context("the spool cannot be opened")?;
    let (unclean_since, damaged, resend) = (recovered.unclean_since, recovered.damaged_records, recovered.resend_open_alerts);
    let State { mut engine, memory, mut ledger, digest_key, sockets: earlier } = local::recover(recovered, rules)?;
    let (renewed_dir, found) = (config.renewed_dir(), engine.last_revision());
    let incarnation = tokio::task::spawn_blocking(move || Incarnation::begin(&renewed_dir, found)).await??;
    if let Some(since) = unclean_since {
        tracing::warn!(damaged_records = damaged, "the last stop was unclean: a crash window is noted in the ledger");
        ledger.crash_window(since, now);
        audit.note(Action::UncleanStop { since: since.as_nanos() });
    }
    engine.replace_dictionary(dictionary);
    let status_socket =
        StatusSocket::bind(&config.status_socket()).with_context(|| format!("{} cannot be used", config.status_socket().display()))?;

    let events_socket =
        StatusSocket::bind(&config.events_socket()).with_context(|| format!("{} cannot be used", config.events_socket().display()))?;

    let accounts = Accounts::new(ledger);
    for (name, protocol, socket, receiver) in [
        ("snmp_trap", Protocol::SnmpTrap, &sockets.snmp_trap, &config.snmp_trap),
        ("syslog_udp", Protocol::Syslog, &sockets.syslog_udp, &config.syslog),
    ] {
        if let (Some(socket), Some(receiver)) = (socket, receiver) {
            if name == "snmp_trap" {
                reply::ask_destination(socket).with_context(|| format!("{name} cannot be set up"))?;
            }
            let inode = udp::prepare(socket, receiver.receive_buffer_bytes).with_context(|| format!("{name} cannot be set up"))?;
            accounts.open_socket(name, protocol, inode, earlier.get(name).copied());
        }
    }

    let ring_options = ring::Options { dir: config.ring_dir(), bounds: config.ring, key: vault.ring_key().clone() };
    let (ring_tap, ring_writer, ring_reader) = ring::Writer::open(ring_options).context("the ring cannot be used")?;
    let (intake, outlet) = intake::queue(accounts.clone(), Digests::new(&digest_key), ring_tap);
    let (effective, newest) = revisions.numbers();
    let provisional = revisions.trial().provisional().map_or(0, |(number, _)| number);
    if options.mode == Mode::Safe {
        audit.note(Action::SafeMode);
    }
    audit.note(Action::Started { version: env!("CARGO_PKG_VERSION").to_owned(), revision: effective });
    let (sealing_key, secrets_serial) = (vault.public_key_der().to_vec(), vault.serial());
    let names_view = names.facts();
    let dictionary = names_view.borrow().digest.map(Vec::from).unwrap_or_default();
    let alert_revision = incarnation.found.unwrap_or(found);
    let facts = GreetingFacts { effective, newest, sealing_key, secrets_serial, dictionary, alert_revision, ..GreetingFacts::default() };
    let facts = GreetingFacts {
        provisional,
        trust_serial: identity.trust_serial,
        incarnation: incarnation.current,
        previous_incarnation: incarnation.previous(),
        earlier_incarnations: incarnation.earlier.clone(),
        ..facts
    };
    let (facts, facts_view) = watch::channel(facts);
    let keeper_facts = facts.clone();
    let (vault, vault_view) = watch::channel(vault);
    let (site, site_view) = watch::channel(Arc::new(site));
    let (report, report_view) = watch::channel(revisions.report());
    let (tunnel_state, tunnel_view) = watch::channel(tunnel::initial_state(now));
    let service_view = tunnel_view.clone();
    let (pipeline_facts, pipeline_view) = watch::channel(PipelineFacts::default());
    let (unknown, unknown_view) = watch::channel(Vec::new());
    let (counter, counts_view) = RuleCounter::new(now);
    let (orders, order_queue) = mpsc::channel(CONTROL_QUEUE);
    let (outgoing, outgoing_queue) = mpsc::channel(CONTROL_QUEUE);
    let (incoming, incoming_queue) = mpsc::channel(CONTROL_QUEUE);

    let room = memory.room.clone();
    let own_engine_id = own_engine.as_ref().map(|own| own.id);
    let engine_report = own_engine.as_ref().map(SnmpEngine::from);
    let engine_warning = own_engine.as_ref().and_then(|own| own.warning.clone());
    if let Some((own, reason)) = own_engine.as_ref().and_then(|own| Some((own, own.warning.clone()?))) {
        audit.note(Action::EngineReset { engine: own.id.to_string(), reason });
    }
    let usm =
        own_engine.map(|own| UsmStart { own, restored: memory.usm.restored(now), started: (now, Instant::now()), audit: audit.clone() });

    let mut tasks = Tasks::new(stop.clone());
    tasks.spawn("spool", spool_writer.finished());
    if let Some(writer) = ring_writer {
        tasks.spawn("ring", writer.run_on_thread());
    }
    let parts = Parts {
        engine,
        memory,
        digest_key,
        accounts: accounts.clone(),
        outlet,
        orders: order_queue,
        facts: pipeline_facts,
        unknown,
        counter,
        milestones: Milestones::new(outgoing.clone()),
        spool: spool.clone(),
    };
    if resend {
        // The first in an empty queue.
        orders.try_send(Order::Resend { nonce: 0 }).context("the pipeline takes no order")?;
    }
    tasks.spawn("pipeline", Pipeline::new(parts).run_on_thread());
    let agents = Agents::default();
    let canary = Canary::new().map_err(|_| anyhow::anyhow!("there are no random numbers for the canary"))?;
    let listeners = Listeners {
        config: &config,
        identity: &identity,
        certified: &certificate.certified,
        intake,
        kernel_drops: kernel_drops.clone(),
        site: site_view.clone(),
        room: room.clone(),
        usm,
        agents: agents.clone(),
        canary: canary.clone(),
        stop: &stop,
    };
    let (listeners, mut refreshes) = listeners.spawn(&mut tasks, sockets)?;
    let inventory = machine.with(listeners.iter().map(|listener| listener.report(&accounts)), now);
    orders.send(Order::Inventory(Box::new(inventory))).await.context("the pipeline takes no order")?;
    let (targets, canary_refreshes) = canary_targets(&config, &identity, &certificate.certified, &listeners)?;
    refreshes.extend(canary_refreshes);
    let (probe, canary_view) = Probe::new(canary, targets, orders.clone());
    let prober = probe.prober();
    tasks.spawn("canary", probe.run(stop.clone()));
    let balance = Balance {
        accounts: accounts.clone(),
        kernel_drops: kernel_drops.clone(),
        listeners: listeners.clone(),
        orders: orders.clone(),
        outgoing: outgoing.clone(),
        tunnel: tunnel_view.clone(),
        spool: spool.clone(),
        warn_below_hours: warn_below_view.clone(),
    };
    tasks.spawn("balance", balance.run(stop.clone()));
    let warnings: Vec<String> = listeners.iter().filter_map(ListenerFacts::warning).collect();
    warnings.iter().for_each(|warning| tracing::warn!(warning, "a receive buffer is smaller than asked for"));
    let (letter_box, letters) = upload::letters();
    let upload = Upload { audit: audit.clone(), signers: signers.clone(), letters, outgoing: outgoing.clone(), facts: facts.clone() };
    tasks.spawn("audit", upload.run(stop.clone()));
    let (identity_notices, notice_queue) = identity::notices();
    let stage =
        Stage { ring: ring_reader.clone(), own: own_engine_id, site: site_view.clone(), orders: orders.clone(), audit: audit.clone() };
    let (replays, questions) = mpsc::channel(live::QUEUE);
    let veto = Veto::new(config.forbidden_fields.clone());
    let replayer = Replayer { stage: stage.clone(), veto, questions, outgoing: outgoing.clone() };
    tasks.spawn("replay", replayer.run(stop.clone()));
    let events = Events { stage, reading: config.event_reading, gateway: identity.gateway.clone(), socket: events_socket };
    tasks.spawn("events", events.run(stop.clone()));
    let (rule_revisions, rule_tunnel) = (report_view.clone(), tunnel_view.clone());
    let rule_reporter =
        RuleReporter { counts: counts_view.clone(), revisions: rule_revisions, tunnel: rule_tunnel, outgoing: outgoing.clone() };
    tasks.spawn("rule-report", rule_reporter.run(stop.clone()));
    let control = Control {
        replays,
        revisions,
        incoming: incoming_queue,
        outgoing: outgoing.clone(),
        orders,
        signers,
        trusted: trusted_view,
        names: Some(names),
        vault,
        site,
        bootstrap,
        link,
        uplink: document.uplink,
        warn_below_hours,
        taken_back,
        session: Link::default(),
        resend_nonce: 0,
        prober,
        facts,
        report,
        tunnel: tunnel_view.clone(),
        spool: spool.clone(),
        audit: audit.clone(),
        letters: letter_box,
        identity: identity_notices,
    };
    tasks.spawn("control", control.run(stop.clone()));
    let (certificate, certificate_view) = watch::channel(certificate);
    let (identity_state, identity_state_view) = watch::channel(IdentityState::default());
    let keeper_outgoing = outgoing.clone();
    // Whoever knows something of itself adds it here.
    let mut contributions = Contributions::default();
    let (last_examination, doctor_view) = Kept::open(config.doctor_dir());
    contributions.add(move |status| status.doctor.clone_from(&doctor_view.borrow()));
    contributions.add(move |status| status.rules = counts_view.borrow().busiest());
    let ring_view = ring_reader.clone();
    contributions.add(move |status| status.ring = ring_view.as_ref().map(Reader::state));
    let audit_view = audit.state();
    contributions.add(move |status| status.audit = Some(audit_view.borrow().clone()));
    contributions.add(move |Status { intake, .. }| intake.warnings.extend_from_slice(&warnings));
    contributions.add(move |Status { intake, .. }| intake.canary.clone_from(&canary_view.borrow()));
    contributions.add(move |Status { intake, .. }| intake.agents = agents.report());
    contributions.add(move |status| {
        let intake = &mut status.intake;
        let names = names_view.borrow();
        intake.dictionary = names.digest_text();
        intake.warnings.extend(names.warning());
        intake.unknown_oids.clone_from(&unknown_view.borrow());
    });
    contributions.add(move |Status { intake, .. }| {
        intake.warnings.extend(certificate_view.borrow().warning(Timestamp::from(SystemTime::now())));
    });
    contributions.add(move |status| status.identity = Some(identity_state_view.borrow().clone()));
    let left_aside = identity.warnings.clone();
    contributions.add(move |Status { intake, .. }| intake.warnings.extend_from_slice(&left_aside));
    contributions.add(move |status| {
        let intake = &mut status.intake;
        let vault = vault_view.borrow();
        (intake.sealing_key, intake.secrets) = (Some(vault.fingerprint()), vault.report());
    });
    let safe = (options.mode == Mode::Safe).then(|| SAFE.to_owned());
    contributions.add(move |status| {
        let intake = &mut status.intake;
        intake.warnings.extend(safe.clone());
        intake.snmp_engine.clone_from(&engine_report);
        intake.warnings.extend(engine_warning.clone());
        intake.warnings.extend_from_slice(site_view.borrow().warnings());
        intake.waiting_room = room.report(Timestamp::from(SystemTime::now()));
    });
    let reporter = Reporter {
        started,
        tunnel: tunnel_view,
        spool: spool.clone(),
        revisions: report_view,
        accounts,
        listeners,
        pipeline: pipeline_view.clone(),
        kernel_drops,
        sandbox: options.sandbox,
        contributions,
    };
    tasks.spawn("status", reporter.clone().serve(status_socket, stop.clone()));
    let doctor = Watch {
        config: config.clone(),
        link: link_view.clone(),
        tunnel: reporter.tunnel.clone(),
        reporter: reporter.clone(),
        kept: last_examination,
        audit: audit.clone(),
        warn_below_hours: warn_below_view,
    };
    tasks.spawn("doctor", doctor.run(stop.clone()));
    tasks.spawn("report", reporter.send(outgoing, stop.clone()));
    let name = format!("{} of {}", identity.gateway, identity.tenant);
    let (identities, identity_view) = watch::channel(identity);
    let keeper = Keeper {
        dir: config.renewed_dir(),
        identity: identities,
        trusted,
        ports: sandbox::ways_out(&config),
        certificate,
        refreshes,
        incarnation,
        link: link_view.clone(),
        tunnel: service_view.clone(),
        notices: notice_queue,
        outgoing: keeper_outgoing,
        facts: keeper_facts,
        audit: audit.clone(),
        state: identity_state,
    };
    tasks.spawn("identity", keeper.run(stop.clone()));
    let (tap, frames, missed_frames) = Tap::new(outbound::QUEUE);
    tasks.spawn("outbound", Viewer::open(&config.outbound_dir(), frames, missed_frames)?.run(stop.clone()));
    let tunnel_options = TunnelOptions {
        link: link_view,
        identity: identity_view,
        tap,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeat: tunnel::HEARTBEAT,
        back_off: BackOff::default(),
    };
    let tunnel_control = tunnel::Control { outgoing: outgoing_queue, incoming, state: tunnel_state, facts: facts_view };
    tasks.spawn("tunnel", tunnel::run(tunnel_options, spool, tunnel_control, stop.clone()));
    let notifier = Notifier { name, pipeline: pipeline_view, tunnel: service_view, watchdog: service::watchdog(), send: service::send };
    tasks.spawn("service", notifier.run(stop.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), server = %config.server, revision = effective, "the gateway is ready");
    tasks.run_until_stopped(DRAIN).await?;
    if let Err(error) = audit.note(Action::Stopped).kept().await {
        tracing::warn!(error = %crate::chain(&error), "the stop is not in the audit log");
    }
    tracing::info!("the gateway has stopped");
    Ok(())
}

/// Compiles what the receivers go by at the start. A secret that is not there any more is no reason to leave the rest aside.
async fn first_site(document: &Document, vault: Vault) -> anyhow::Result<Site> {
    let settings = Arc::new(Settings::from(document));
    let (site, problems) = tokio::task::spawn_blocking(move || Site::compile(settings, &|name| vault.secret(name).cloned(), None)).await?;
    for problem in problems {
        tracing::warn!(path = problem.path, reason = problem.reason, "the revision in force lacks a secret");
    }
    Ok(site)
}

/// Returns what the canary tries: every listener, but not one whose TLS clients need a certificate of a CA that we have none of.
fn canary_targets(
    config: &Config,
    identity: &Identity,
    certified: &Certified,
    listeners: &[ListenerFacts],
) -> anyhow::Result<(Vec<Target>, Vec<Refresh>)> {
    let tls = config.syslog_tls.as_ref();
    let foreign = tls.is_some_and(|tls| tls.client_ca.is_some());
    let required = tls.is_some_and(|tls| tls.client_certificates == ClientDemand::Required);
    let (mut targets, mut refreshes) = (Vec::new(), Vec::new());
    for (path, address) in listeners.iter().filter_map(ListenerFacts::canary_target) {
        let tls = match path {
            Path::SyslogTls if foreign && required => continue,
            Path::SyslogTls => {
                let (refresh, connector) = live(certified, identity, move |certified, identity| {
                    canary::tls::connector(certified, (!foreign).then_some(identity))
                })?;
                refreshes.push(refresh);
                Some(connector)
            }
            Path::Proxy | Path::SnmpTrap | Path::SyslogTcp | Path::SyslogUdp => None,
        };
        targets.push(Target { path, address, tls });
    }
    Ok((targets, refreshes))
}
