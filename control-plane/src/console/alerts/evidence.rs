//! Who reported an alert and how far that can be trusted, in words for people who were not there. Pure text.

use postern_protocol::alert::{Authenticity, Evidence};

/// One line of the evidence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fact<'a> {
    /// What it is.
    pub(super) name: &'static str,
    /// What was found.
    pub(super) value: &'a str,
    /// Whether the value is to be read letter by letter.
    pub(super) mono: bool,
    /// Whether it named the alert's source.
    pub(super) chosen: bool,
    /// What it means.
    pub(super) explained: &'static str,
}

/// Lists what is known; what was not there or not released is left out.
pub(super) fn facts(evidence: &Evidence) -> Vec<Fact<'_>> {
    let fact = |name, key: &str, value, explained| Fact { name, value, mono: true, chosen: evidence.chosen_by == key, explained };
    let mut facts = vec![
        fact("Sender's address", "peer", evidence.peer.as_str(), "As the gateway's socket saw it. With UDP it can be forged."),
        fact("Address in the trap", "trap_address", &evidence.trap_address, "What the sender wrote into the message."),
        fact("SNMP engine", "engine_id", &evidence.engine_id, "Identifies the sending SNMP engine."),
        fact("Host name", "hostname", &evidence.hostname, "From the syslog header: the sender chose it."),
        fact("Certificate or key", "push", &evidence.tls_name, "The name of the client certificate or push key that was proven."),
        fact("Relay", "relay", &evidence.relay, "It passed the message on, and the configuration trusts it to name the sender."),
    ];
    for fact in &mut facts {
        fact.chosen |= fact.name == "Certificate or key" && evidence.chosen_by == "tls_name";
    }
    facts.push(Fact {
        name: "Transport",
        value: &evidence.transport,
        mono: false,
        chosen: false,
        explained: transport(&evidence.transport),
    });
    facts.retain(|fact| !fact.value.is_empty());
    let (value, explained) = authenticity(evidence.authenticity);
    facts.push(Fact { name: "Authenticity", value, mono: false, chosen: false, explained });
    for (chosen_by, value) in [("control-plane", "the control plane"), ("gateway", "the gateway")] {
        if evidence.chosen_by == chosen_by {
            facts.clear();
            let explained = "It noticed this itself; no device reported it.";
            facts.push(Fact { name: "Reported by", value, mono: false, chosen: false, explained });
        }
    }
    facts
}

/// What it means that two of the facts disagree.
pub(super) fn conflict(evidence: &Evidence) -> &'static str {
    match evidence.chosen_by.as_str() {
        "tls_name" => "The host name in the message is not the name in the sender's certificate, which was proven and counts.",
        "hostname" => "The host name in the message is an address, and not the one it came from. A relay does that; so does a forger.",
        _ => "The address in the message is not the one it came from. A relay or address translation does that; so does a forger.",
    }
}

fn transport(name: &str) -> &'static str {
    match name {
        "udp" => "No connection: neither the sender's address nor the content is protected.",
        "tcp" => "A connection, so the address was reachable; the content is not protected.",
        "tls" => "Encrypted and protected against change on the way.",
        _ => "",
    }
}

const fn authenticity(level: Authenticity) -> (&'static str, &'static str) {
    match level {
        Authenticity::None => ("None", "Nothing proves who sent it: anyone who can reach the gateway could have."),
        Authenticity::Community => ("Community string", "The sender knew a shared word that anyone on the path can read."),
        Authenticity::UsmAuth => ("Authenticated", "A key proves who sent it and that nothing was changed. It could be read on the way."),
        Authenticity::UsmPriv => ("Authenticated and encrypted", "A key proves who sent it; nobody could change or read it on the way."),
        Authenticity::Tls => ("TLS", "A certificate, or a credential inside TLS, proves who sent it."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_there_is_not_shown_and_the_chosen_fact_is_marked() {
        let evidence = Evidence { peer: "10.0.0.7".into(), transport: "udp".into(), chosen_by: "peer".into(), ..Evidence::default() };
        let names: Vec<_> = facts(&evidence).iter().map(|fact| (fact.name, fact.chosen)).collect();
        assert_eq!(names, [("Sender's address", true), ("Transport", false), ("Authenticity", false)]);
    }
}
