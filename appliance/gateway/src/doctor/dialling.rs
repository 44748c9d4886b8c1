//! A connection that could not be made, judged: each stage has causes of its own. Pure.

use std::io::ErrorKind;

use nix::libc;
use postern_protocol::status::doctor::Finding;
use postern_uplink::dial::error::{Demand, DialError, Page};

use super::finding::Id;

/// Judges why there is no connection.
pub(super) fn judge(error: &DialError) -> Finding {
    let evidence = crate::chain(error);
    match error {
        DialError::Connect { to, cause, tried } => {
            let tried: Vec<String> = tried.iter().map(|tried| format!("{}: {}", tried.address, tried.cause)).collect();
            let evidence = if tried.is_empty() { evidence } else { tried.join("; ") };
            unconnected(to, cause, evidence)
        }
        DialError::ProxyAuthentication { proxy, schemes, demand } => proxy_authentication(proxy, schemes, *demand),
        DialError::ProxyBroke { .. } => Id::ProxyRefused.fault(
            "the proxy ends the connection",
            evidence,
            "look at the proxy's log, and check that server.proxy names its HTTP port",
        ),
        DialError::ProxyNotHttp { .. } => Id::ProxyRefused.fault(
            "what answers at the proxy's address is no HTTP proxy",
            evidence,
            "check address and port of server.proxy",
        ),
        DialError::ProxyRefused { proxy, to, status, reason, page } => refused_by_proxy((proxy, to), (*status, reason), page),
        DialError::ProxyTimeout { .. } => Id::TimedOut.fault(
            "the proxy takes the connection and does not answer",
            evidence,
            "look at the proxy's log: it may wait for a destination that it cannot reach itself",
        ),
        DialError::Resolve { host, .. } => Id::DnsFailed.fault(
            format!("the name {host} cannot be resolved"),
            evidence,
            "check the name in server.url, and this machine's DNS servers (resolvectl status); without DNS give server.addresses",
        ),
        DialError::Unaddressed(_) => {
            Id::DnsFailed.fault("there is no address to connect to", evidence, "check server.url and the addresses of the configuration")
        }
    }
}

fn unconnected(to: &str, cause: &std::io::Error, evidence: String) -> Finding {
    match cause.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Id::Refused.fault(
            format!("{to} refuses the connection"),
            evidence,
            "check address and port; the machine is there, and nothing listens, or a firewall rejects this machine",
        ),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Id::TimedOut.fault(
            format!("{to} does not answer"),
            evidence,
            "check the address; a firewall on the way drops the connection: let this machine out to that host and port, TCP",
        ),
        // Our own firewall, and our own sandbox, say no in this way.
        ErrorKind::PermissionDenied => Id::NoRoute.fault(
            format!("this machine does not let the connection to {to} out"),
            evidence,
            "check this machine's own firewall (nft list ruleset); after a change of ports restart the daemon, whose sandbox has the old ones",
        ),
        _ => {
            let unreachable = matches!(
                cause.raw_os_error(),
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN | libc::EADDRNOTAVAIL)
            );
            let what = if unreachable { format!("no network leads to {to}") } else { format!("no connection to {to}") };
            Id::NoRoute.fault(what, evidence, "check this machine's addresses, default route and cable (ip addr, ip route)")
        }
    }
}

fn proxy_authentication(proxy: &str, schemes: &[String], demand: Demand) -> Finding {
    let offered = if schemes.is_empty() { "no scheme".to_owned() } else { schemes.join(", ") };
    let (what, advice) = match demand {
        Demand::Foreign => (
            format!("the proxy {proxy} wants a way of signing in that this program does not speak: {offered}"),
            "have the proxy's admin let this machine through without signing in, or offer it Basic or Digest; NTLM and Negotiate need a \
             domain account, which an appliance does not have",
        ),
        Demand::Missing => (
            format!("the proxy {proxy} wants a user name and password ({offered})"),
            "set them: server.proxy = \"http://USER:PASSWORD@HOST:PORT\" in the bootstrap file, or the link settings in the console",
        ),
        Demand::Refused => (
            format!("the proxy {proxy} refuses the user name or password ({offered})"),
            "correct them in server.proxy or in the link settings, and check that the account is not locked",
        ),
    };
    Id::ProxyAuth.fault(what, format!("it answers 407 and offers: {offered}"), advice)
}

fn refused_by_proxy((proxy, to): (&str, &str), (status, reason): (u16, &str), page: &Page) -> Finding {
    // 511 is the status made for it (RFC 6585 §6); a redirection has no meaning for CONNECT.
    if matches!(status, 300..=399 | 511) || page.location.is_some() {
        let sends = page.location.as_deref().map_or_else(String::new, |location| format!(" and sends to {location}"));
        let advice = "sign this machine in at that network's portal, or have it excepted there";
        let evidence = format!("{proxy} answers CONNECT {to} with {status} {reason}{sends}");
        return Id::CaptivePortal.fault("a sign-in page answers in place of the proxy (captive portal)", evidence, advice);
    }
    let what = format!("the proxy {proxy} refuses to connect to {to}");
    let advice = match status {
        502..=504 => "the proxy itself cannot reach the control plane: have its admin check its DNS and its own way out",
        _ => "have the proxy's admin allow CONNECT to that host and port for this machine",
    };
    Id::ProxyRefused.fault(what, format!("{status} {reason}"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn connect(errno: i32) -> String {
        let cause = || io::Error::from_raw_os_error(errno);
        judge(&DialError::Connect { to: "h:443".to_owned(), cause: cause(), tried: Vec::new() }).id
    }

    #[test]
    fn why_no_connection_is_made_is_told_apart() {
        assert_eq!(connect(libc::ECONNREFUSED), "refused");
        assert_eq!(connect(libc::ETIMEDOUT), "timed-out");
        assert_eq!([libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES].map(connect), ["no-route"; 3]);
    }

    #[test]
    fn a_block_page_is_a_refusal_and_a_redirection_a_portal() {
        let refused = |status, page| {
            let reason = "No".to_owned();
            judge(&DialError::ProxyRefused { proxy: "p:3128".to_owned(), to: "h:443".to_owned(), status, reason, page }).id
        };
        assert_eq!(refused(403, Page { location: None, is_html: true }), "proxy-refused");
        assert_eq!(refused(302, Page { location: Some("http://portal/".to_owned()), is_html: false }), "captive-portal");
        assert_eq!(refused(511, Page { location: None, is_html: true }), "captive-portal");
    }

    #[test]
    fn the_schemes_that_a_proxy_offers_are_named() {
        let schemes = vec!["NTLM".to_owned(), "Negotiate".to_owned()];
        let finding = judge(&DialError::ProxyAuthentication { proxy: "p:3128".to_owned(), schemes, demand: Demand::Foreign });
        assert_eq!(finding.id, "proxy-auth");
        assert!(finding.what.contains("NTLM, Negotiate") && finding.advice.contains("Basic or Digest"), "{finding:?}");
    }
}
