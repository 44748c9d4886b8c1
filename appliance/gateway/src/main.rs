//! `postern-gateway`: reads the command line and calls the library. Nothing is decided here.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use postern_gateway::audit::action::Action;
use postern_gateway::audit::print::Form;
use postern_gateway::config::Config;
use postern_gateway::doctor::{self, Patient};
use postern_gateway::enrol::{EnrolFailure, EnrolRequest, enrol};
use postern_gateway::events::{self, Shown};
use postern_gateway::listener_certificate;
use postern_gateway::outbound::tail::{self, Tail, TailError, Then};
use postern_gateway::proxy::users::{self as proxy_user, MAX_PASSWORD_BYTES};
use postern_gateway::replay::input::Reading;
use postern_gateway::replay::offline;
use postern_gateway::revision::Mode;
use postern_gateway::service::PassedSockets;
use postern_gateway::table::Table;
use postern_gateway::{Opened, RunOptions, audit, run, sandbox, status};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::identity::Identity;
use postern_uplink::renewal::encode_pem;
use postern_uplink::url::{ProxyUrl, ServerUrl};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Postern's gateway: receives traps, syslog and pushes, and sends alerts to the control plane.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the local audit log, or check it.
    Audit(AuditArgs),
    /// Print the certificate authority (PEM) that the TLS listeners' certificate comes from, unless the site has its own.
    Ca(Common),
    /// Check the configuration, tell every fault, and exit.
    Check(Common),
    /// Look for what keeps this gateway from working, and say what to do; exits with 1 for a warning, 2 for a fault.
    Doctor(DoctorArgs),
    /// Make this gateway known to its control plane with a one-time token; exits with 75 when trying again may help, with 76 when
    /// this token never will.
    Enrol(EnrolArgs),
    /// Install a certificate for the TLS listeners; the daemon uses it from its next start on.
    ListenerCertificate(ListenerCertificateArgs),
    /// Make a key for the TLS listeners here, and a request for a certificate of an authority of your own.
    ListenerCsr(ListenerCsrArgs),
    /// Show what leaves this site.
    Outbound(OutboundArgs),
    /// Show the received events behind an alert: only where the bootstrap file allows it ([ring] read_events), and written into the
    /// audit log.
    Events(EventsArgs),
    /// Make a line of the proxy's file of users; the password is read from standard input.
    ProxyUser(ProxyUserArgs),
    /// Try rules on captures (pcap, pcapng), files of syslog lines, or lines of JSON; needs neither daemon nor identity.
    Replay(ReplayArgs),
    /// Run the daemon.
    Run(RunArgs),
    /// Ask the running daemon how it is.
    Status(StatusArgs),
}

#[derive(Args)]
struct Common {
    /// The bootstrap file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct AuditArgs {
    #[command(subcommand)]
    verify: Option<AuditCommand>,
    /// The bootstrap file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Print each entry as JSON, one a line.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check every line against the one before it and against the last countersignature of the control plane; exits with 2 when
    /// the log is damaged.
    Verify(AuditVerifyArgs),
}

#[derive(Args)]
struct AuditVerifyArgs {
    #[command(flatten)]
    common: Common,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct DoctorArgs {
    #[command(flatten)]
    common: Common,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct OutboundArgs {
    #[command(subcommand)]
    command: OutboundCommand,
}

#[derive(Subcommand)]
enum OutboundCommand {
    /// Print the contract: every field that can leave, with its meaning and source, as JSON.
    Contract,
    /// Show the frames that left, decoded; the last 20 unless told otherwise.
    Tail(OutboundTailArgs),
}

#[derive(Args)]
struct OutboundTailArgs {
    #[command(flatten)]
    common: Common,
    /// Print each frame whole, as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Go on with what leaves from now on.
    #[arg(long)]
    follow: bool,
    /// Begin that long ago (10m, 2h), or at that time (2026-01-31T12:00:00Z).
    #[arg(long, value_name = "SPAN|TIME")]
    since: Option<String>,
}

#[derive(Args)]
struct EnrolArgs {
    #[command(flatten)]
    common: Common,
    /// The control plane, for example https://control.example.com; the configuration must name the same.
    #[arg(long, value_name = "URL")]
    server: ServerUrl,
    /// File with the token, or - for standard input.
    #[arg(long, value_name = "FILE|-")]
    token_file: PathBuf,
    /// HTTP proxy for this exchange.
    #[arg(long, value_name = "URL")]
    proxy: Option<ProxyUrl>,
}

#[derive(Args)]
struct ListenerCertificateArgs {
    #[command(flatten)]
    common: Common,
    /// PEM file with the certificate, then its intermediates.
    #[arg(long, value_name = "FILE")]
    install: PathBuf,
}

#[derive(Args)]
struct ListenerCsrArgs {
    #[command(flatten)]
    common: Common,
    /// Name or address under which clients reach the listeners; may be given several times, the first one is the common name.
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Where to write the request; standard output when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct ProxyUserArgs {
    /// The bootstrap file: with it, the deed is written into the audit log.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the user.
    name: String,
}

#[derive(Args)]
struct EventsArgs {
    #[command(flatten)]
    common: Common,
    /// The alert's identifier, as the console and the API show it.
    #[arg(value_name = "ALERT-ID")]
    alert: String,
    /// Print each event as JSON, one a line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReplayArgs {
    /// The revision document whose rules are tried.
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// Another document: only what differs from it is shown.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// UDP port to which captured traps went; may be given several times.
    #[arg(long = "trap-port", value_name = "PORT", default_values_t = [162, 10162])]
    trap_ports: Vec<u16>,
    /// UDP port to which captured syslog went; may be given several times.
    #[arg(long = "syslog-port", value_name = "PORT", default_values_t = [514, 10514])]
    syslog_ports: Vec<u16>,
    /// Who sent the lines of files that name no sender.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    peer: IpAddr,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// What is replayed, in the order of its time.
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Keep the last confirmed revision in force (the built-in rules where there is none), whatever is pushed.
    #[arg(long)]
    safe: bool,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    common: Common,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere is left to say that it cannot be said.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr_is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(stderr_is_terminal).init();
    let daemon = matches!(cli.command, Command::Run(_));
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) if daemon => {
            tracing::error!(error = format!("{error:#}"), "the gateway failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("postern-gateway: {error:#}");
            error.downcast_ref::<EnrolFailure>().map_or(ExitCode::FAILURE, |failure| failure.exit_code().into())
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    let done: anyhow::Result<()> = match command {
        Command::Audit(args) => return audit(args),
        Command::Ca(common) => {
            let config = Config::load(&common.config)?;
            let identity = Identity::load(&config.identity_dir()).context("this gateway has no identity yet")?;
            print(&identity.ca.iter().map(|authority| encode_pem(authority)).collect::<String>())
        }
        Command::Check(common) => {
            Config::load(&common.config)?;
            println!("{} is valid", common.config.display());
            Ok(())
        }
        Command::Doctor(args) => return doctor(args),
        Command::Enrol(args) => {
            let config = Config::load(&args.common.config)?;
            let request = EnrolRequest { server: args.server, token_file: args.token_file, proxy: args.proxy };
            let identity = runtime().build()?.block_on(enrol(&config, request))?;
            println!("enrolled as gateway {} of tenant {}", identity.gateway, identity.tenant);
            println!("identity, keys and pins are in {}", config.identity_dir().display());
            Ok(())
        }
        Command::ListenerCertificate(args) => {
            let config = Config::load(&args.common.config)?;
            let name = listener_certificate::install(&config, &args.install, Timestamp::from(SystemTime::now()))?;
            note(&config, Action::ListenerCertificateInstalled { name: name.clone() })?;
            print(&format!("the certificate of {name} is installed; restart the gateway to use it\n"))
        }
        Command::ListenerCsr(args) => {
            let config = Config::load(&args.common.config)?;
            let name = args.names.first().map(String::as_str).unwrap_or_default();
            let request = listener_certificate::request(&config, name, &args.names)?;
            note(&config, Action::ListenerKeyMade { name: name.to_owned() })?;
            match args.out {
                None => print(&request),
                Some(path) => std::fs::write(&path, request).with_context(|| format!("{} cannot be written", path.display())),
            }
        }
        Command::Outbound(OutboundArgs { command: OutboundCommand::Contract }) => print(postern_protocol::CONTRACT),
        Command::Outbound(OutboundArgs { command: OutboundCommand::Tail(args) }) => outbound_tail(args),
        Command::ProxyUser(args) => {
            let mut password = Zeroizing::new(String::new());
            std::io::stdin().take(MAX_PASSWORD_BYTES as u64 + 2).read_to_string(&mut password).context("the password cannot be read")?;
            let line = proxy_user::line(&args.name, password.trim_end_matches(['\r', '\n']))?;
            if let Some(config) = &args.config {
                note(&Config::load(config)?, Action::ProxyUserMade { name: args.name })?;
            }
            print(&format!("{line}\n"))
        }
        Command::Events(args) => events(&args),
        Command::Replay(args) => {
            let ReplayArgs { rules, against, trap_ports, syslog_ports, peer, json, inputs } = args;
            let reading = Reading { trap_ports, syslog_ports, peer };
            let replayed = offline::replay(&offline::Request { rules, against, inputs, reading })?;
            print(&if json { format!("{}\n", serde_json::to_string(&replayed)?) } else { offline::Lines(&replayed).to_string() })
        }
        Command::Run(args) => {
            let sockets = PassedSockets::from_environment()?;
            let config = Config::load(&args.common.config)?;
            postern_gateway::descriptors::raise()?;
            let opened = Opened::new(&config, sockets)?;
            // The control group's share of the processors cannot be read inside.
            let workers = std::thread::available_parallelism()?.get();
            let sandbox = sandbox::enter(&config, &opened.tcp_ports())?;
            let mode = if args.safe { Mode::Safe } else { Mode::Normal };
            let runtime = runtime().worker_threads(workers).build()?;
            runtime.block_on(run_until_signalled(config, RunOptions { mode, opened, sandbox }))
        }
        Command::Status(args) => {
            let config = Config::load(&args.common.config)?;
            let (report, text) = runtime().build()?.block_on(status::ask(&config.status_socket()))?;
            let text = if args.json { format!("{text}\n") } else { Table(&report).to_string() };
            print(&text)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Writes down what was done at the command line, before it is told done.
fn note(config: &Config, action: Action) -> anyhow::Result<()> {
    audit::note_locally(&config.audit_dir(), action).context("it is done, but cannot be written into the audit log")
}

fn audit(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let Some(AuditCommand::Verify(verify)) = args.verify else {
        let config = Config::load(&args.config.context("--config is needed")?)?;
        print(&audit::print::entries(&config, if args.json { Form::Json } else { Form::Text })?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let verified = audit::print::verify(&Config::load(&verify.common.config)?)?;
    print(&if verify.json { format!("{}\n", serde_json::to_string(&verified)?) } else { audit::print::sentence(&verified) })?;
    Ok(if verified.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn events(args: &EventsArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.common.config)?;
    let mut printed = Ok(());
    let show = |shown: &Shown| {
        let line = if args.json { serde_json::to_string(shown).unwrap_or_default() } else { shown.to_string() };
        if printed.is_ok() {
            printed = print(&format!("{line}\n"));
        }
    };
    let (events, damaged) = runtime().build()?.block_on(events::ask(&config, &args.alert, show))?;
    printed?;
    if damaged > 0 {
        eprintln!("postern-gateway: {damaged} blocks of the ring are damaged and were passed over");
    }
    if events == 0 {
        eprintln!("postern-gateway: the ring has no event behind this alert: it is too old, or no rule in force makes it");
    }
    Ok(())
}

fn doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.common.config)?;
    let report = runtime().build()?.block_on(async { doctor::examine(Patient::of(&config).await).await });
    print(&if args.json { format!("{}\n", serde_json::to_string(&report)?) } else { doctor::text::Lines(&report).to_string() })?;
    Ok(doctor::exit_code(&report).into())
}

fn outbound_tail(args: OutboundTailArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.common.config)?;
    let tail = Tail {
        since: args.since.map(|text| tail::parse_since(&text, SystemTime::now())).transpose()?,
        then: if args.follow { Then::Follow } else { Then::End },
        form: if args.json { tail::Form::Json } else { tail::Form::Text },
    };
    note(&config, Action::OutboundRead)?;
    match tail::run(&config.outbound_dir(), tail, |line| std::io::stdout().write_all(line.as_bytes())) {
        // Whoever has seen enough goes.
        Err(TailError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        shown => Ok(shown?),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads only the head has what they want.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn runtime() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    builder
}

async fn run_until_signalled(config: Config, options: RunOptions) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut daemon = std::pin::pin!(run(config, options, stop.clone()));
    // Cancel-safe: the daemon is only polled here, and goes on below.
    tokio::select! {
        ended = &mut daemon => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    daemon.await
}
