//! From bound sockets to tasks: each listener that the configuration has gets its receiver, and a line in status reports.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use postern_engine::event::Protocol;
use postern_uplink::identity::Identity;
use postern_uplink::tasks::Tasks;
use postern_uplink::tls::{Certified, ClientAuth, TlsError};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::canary::{Canary, Path};
use crate::config::{self, ClientDemand, Config};
use crate::identity::live::{Refresh, live};
use crate::intake::Intake;
use crate::proxy::agents::Agents;
use crate::proxy::authentication::Authentication;
use crate::proxy::policy::Policy;
use crate::proxy::push::Pushes;
use crate::proxy::splice::{MAX_PIPES, Pipes};
use crate::proxy::tunnel::Tunnels;
use crate::proxy::{self, Proxy, REFUSABLE};
use crate::receivers::kernel_drops::KernelDrops;
use crate::receivers::snmp_trap::{TrapDecoder, UsmStart};
use crate::receivers::stream::Listener;
use crate::receivers::syslog::Streams;
use crate::receivers::udp::UdpReceiver;
use crate::receivers::{ListenerFacts, Sockets, snmp_trap, syslog};
use crate::site::Site;
use crate::waiting_room::WaitingRoom;

/// Why the listeners cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The system gives no random numbers.
    #[error("there are no random numbers for a key")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// The certificates or the key of the TLS listeners.
    #[error("the certificate of the TLS listeners cannot be used")]
    Tls(#[from] TlsError),
}

/// What every listener needs. Holds an end of the queue: the pipeline ends when this and the tasks are gone.
pub(crate) struct Listeners<'a> {
    pub(crate) config: &'a Config,
    pub(crate) identity: &'a Identity,
    /// Of the TLS listeners.
    pub(crate) certified: &'a Certified,
    pub(crate) intake: Intake,
    pub(crate) kernel_drops: KernelDrops,
    pub(crate) site: watch::Receiver<Arc<Site>>,
    pub(crate) room: WaitingRoom,
    /// There when the configuration has a trap receiver.
    pub(crate) usm: Option<UsmStart>,
    pub(crate) agents: Agents,
    pub(crate) canary: Canary,
    pub(crate) stop: &'a CancellationToken,
}

impl Listeners<'_> {
    /// Spawns a task for every socket that there is; returns what reports say about them, and what gives them another certificate.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(crate) fn spawn(mut self, tasks: &mut Tasks, sockets: Sockets) -> Result<(Vec<ListenerFacts>, Vec<Refresh>), ListenError> {
        let (mut facts, mut refreshes) = (Vec::new(), Vec::new());
        if let (Some(settings), Some(socket), Some(start)) = (&self.config.snmp_trap, sockets.snmp_trap, self.usm.take()) {
            facts.push(ListenerFacts::udp("snmp_trap", "snmp_trap", &socket, settings.receive_buffer_bytes));
            let (intake, site, room) = (self.intake.clone(), self.site.clone(), self.room.clone());
            let mut decoder = TrapDecoder::new(snmp_trap::Parts { socket: Arc::clone(&socket), intake, site, room, start });
            let receiver = self.receiver((Path::SnmpTrap, Protocol::SnmpTrap), socket, settings);
            tasks.spawn("snmp_trap", receiver.run(move |datagram| decoder.decode(datagram), self.stop.clone()));
        }
        if let (Some(settings), Some(socket)) = (&self.config.syslog, sockets.syslog_udp) {
            facts.push(ListenerFacts::udp("syslog", "syslog_udp", &socket, settings.receive_buffer_bytes));
            let receiver = self.receiver((Path::SyslogUdp, Protocol::Syslog), socket, settings);
            tasks.spawn("syslog_udp", receiver.run(syslog::datagrams(self.site.clone()), self.stop.clone()));
        }
        if let (Some(settings), Some(socket)) = (&self.config.syslog, sockets.syslog_tcp) {
            let listener = self.syslog_listener(Path::SyslogTcp, socket, settings);
            facts.push(ListenerFacts::stream("syslog", "tcp", &listener));
            let streams = self.streams(settings);
            let handle = move |accepted| syslog::tcp(accepted, streams.clone());
            tasks.spawn("syslog_tcp", listener.serve(self.stop.clone(), handle));
        }
        if let (Some(settings), Some(socket)) = (&self.config.syslog_tls, sockets.syslog_tls) {
            let listener = self.syslog_listener(Path::SyslogTls, socket, settings);
            facts.push(ListenerFacts::stream("syslog_tls", "tls", &listener));
            let (own_ca, demand) = (settings.client_ca.clone(), settings.client_certificates);
            let (refresh, acceptor) = live(self.certified, self.identity, move |certified, identity| {
                let ca = own_ca.as_deref().unwrap_or(&identity.ca);
                let clients = match demand {
                    ClientDemand::None => ClientAuth::None,
                    ClientDemand::Optional => ClientAuth::Optional(ca),
                    ClientDemand::Required => ClientAuth::Required(ca),
                };
                syslog::acceptor(certified, clients)
            })?;
            refreshes.push(refresh);
            let streams = self.streams(settings);
            let handle = move |accepted| syslog::tls(accepted, acceptor.borrow().clone(), streams.clone());
            tasks.spawn("syslog_tls", listener.serve(self.stop.clone(), handle));
        }
        if let (Some(settings), Some(socket)) = (&self.config.proxy, sockets.proxy) {
            let listener = Listener {
                name: "proxy",
                protocol: Protocol::Push,
                socket,
                allow: settings.allow.clone(),
                proxy_protocol_from: settings.proxy_protocol_from.clone(),
                max_connections: settings.max_connections.saturating_add(REFUSABLE),
                max_per_source: settings.max_per_source,
                canary: (self.canary.clone(), Path::Proxy),
                connections: Arc::new(AtomicU64::new(0)),
                accounts: self.intake.accounts().clone(),
            };
            facts.push(ListenerFacts::stream("proxy", "tcp", &listener));
            let (refresh, acceptor) = live(self.certified, self.identity, |certified, _| proxy::acceptor(certified))?;
            refreshes.push(refresh);
            let proxy = Arc::new(self.proxy(settings, acceptor)?);
            tasks.spawn("proxy", listener.serve(self.stop.clone(), move |accepted| Arc::clone(&proxy).serve(accepted)));
        }
        Ok((facts, refreshes))
    }

    fn receiver(&self, (path, protocol): (Path, Protocol), socket: Arc<UdpSocket>, settings: &config::Receiver) -> UdpReceiver {
        UdpReceiver {
            name: path.name(),
            canary: (self.canary.clone(), path),
            protocol,
            socket,
            allow: settings.allow.clone(),
            rate_limit_per_source: settings.rate_limit_per_source,
            intake: self.intake.clone(),
            kernel_drops: self.kernel_drops.clone(),
        }
    }

    fn syslog_listener(&self, path: Path, socket: TcpListener, settings: &config::Receiver) -> Listener {
        Listener {
            name: path.name(),
            canary: (self.canary.clone(), path),
            protocol: Protocol::Syslog,
            socket,
            allow: settings.allow.clone(),
            proxy_protocol_from: settings.proxy_protocol_from.clone(),
            max_connections: settings.max_connections,
            max_per_source: settings.max_per_source,
            connections: Arc::new(AtomicU64::new(0)),
            accounts: self.intake.accounts().clone(),
        }
    }

    fn streams(&self, settings: &config::Receiver) -> Streams {
        let (intake, canary, site) = (self.intake.clone(), self.canary.clone(), self.site.clone());
        Streams { intake, canary, site, idle_timeout: settings.idle_timeout, stop: self.stop.clone() }
    }

    fn proxy(&self, settings: &config::Proxy, acceptor: watch::Receiver<TlsAcceptor>) -> Result<Proxy, ListenError> {
        let authentication = match &settings.authentication {
            config::Authentication::None => None,
            config::Authentication::Basic(users) => Some(Authentication::new(users.clone())?),
        };
        Ok(Proxy {
            canary: self.canary.clone(),
            tunnels: Tunnels {
                policy: Policy::new(settings.connect_allow.clone()),
                upstream: self.config.server_proxy.clone(),
                agents: self.agents.clone(),
                pipes: Pipes::new(MAX_PIPES),
                idle_timeout: settings.idle_timeout,
            },
            pushes: Pushes { keys: self.config.push_keys.clone(), plain: settings.plain_push, intake: self.intake.clone() },
            authentication,
            acceptor,
            idle_timeout: settings.idle_timeout,
            room: Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)),
            stop: self.stop.clone(),
        })
    }
}
