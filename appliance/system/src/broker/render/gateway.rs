//! The gateway's bootstrap file, and what its enrolment needs beside it.

use super::MADE;
use crate::settings::Settings;
use crate::veto::{Listener, Veto};

/// Renders `gateway.toml`; `None` as long as there is no control plane.
///
/// The listeners name both address families: the service manager opens the sockets, the file says which of them are used.
pub(super) fn bootstrap_file(settings: &Settings, veto: &Veto) -> Option<String> {
    let control_plane = settings.control_plane.as_ref()?;
    let mut text = format!("{MADE}data_dir = \"/var/lib/postern\"\n\n[server]\nurl = \"{control_plane}\"\n");
    if let Some(proxy) = &settings.proxy {
        text.push_str(&format!("proxy = \"{}\"\n", proxy.with_credentials()));
    }
    for listener in Listener::ALL.into_iter().filter(|listener| !veto.listeners_off.contains(listener)) {
        let section = match listener {
            Listener::Proxy => "proxy",
            Listener::SnmpTrap => "receivers.snmp_trap",
            Listener::Syslog => "receivers.syslog",
            Listener::SyslogTls => "receivers.syslog_tls",
        };
        text.push_str(&format!("\n[{section}]\nlisten = \"[::]:{}\"\n", listener.port()));
    }
    let fields: Vec<String> = veto.forbidden_fields.iter().map(|field| format!("\"{}\"", field.as_str())).collect();
    text.push_str(&format!("\n[veto]\nforbidden_fields = [{}]\n\n[sandbox]\nrequire = true\n", fields.join(", ")));
    Some(text)
}

/// Renders the environment of the enrolment's unit, which names the control plane on its command line.
pub(super) fn enrolment_environment(settings: &Settings) -> Option<String> {
    let control_plane = settings.control_plane.as_ref()?;
    Some(format!("{MADE}POSTERN_SERVER={control_plane}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Submission;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Submission::parse(pairs.iter().copied()).unwrap().settings
    }

    #[test]
    fn everything_listens_unless_the_site_says_otherwise() {
        let settings = settings(&[("control_plane", "https://control.example.com"), ("proxy", "http://u:p'#$@192.0.2.8:8080")]);
        let text = bootstrap_file(&settings, &Veto::default()).unwrap();
        assert_eq!(
            text.strip_prefix(MADE).unwrap(),
            "data_dir = \"/var/lib/postern\"\n\n[server]\nurl = \"https://control.example.com:443\"\nproxy = \"http://u:p'#$@192.0.2.8:8080\"\n\n\
             [proxy]\nlisten = \"[::]:3128\"\n\n[receivers.snmp_trap]\nlisten = \"[::]:162\"\n\n[receivers.syslog]\nlisten = \"[::]:514\"\n\n\
             [receivers.syslog_tls]\nlisten = \"[::]:6514\"\n\n[veto]\nforbidden_fields = []\n\n[sandbox]\nrequire = true\n"
        );
    }

    #[test]
    fn the_veto_is_handed_on() {
        let settings = settings(&[("control_plane", "https://[2001:db8::1]:8443")]);
        let veto = Veto::parse(
            "[veto]\nforbidden_fields = [\"message\", \"capture:user name\"]\n[appliance]\nlisteners_off = [\"proxy\", \"syslog\"]",
        );
        let text = bootstrap_file(&settings, &veto.unwrap()).unwrap();
        assert!(text.contains("forbidden_fields = [\"message\", \"capture:user name\"]\n"));
        assert!(!text.contains("[proxy]") && !text.contains("[receivers.syslog]\n") && text.contains("[receivers.syslog_tls]"));
        assert_eq!(enrolment_environment(&settings).unwrap(), format!("{MADE}POSTERN_SERVER=https://[2001:db8::1]:8443\n"));
        let parsed: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(parsed["server"]["url"].as_str(), Some("https://[2001:db8::1]:8443"));
    }

    #[test]
    fn without_a_control_plane_there_is_no_file() {
        assert_eq!(bootstrap_file(&Settings::default(), &Veto::default()), None);
        assert_eq!(enrolment_environment(&Settings::default()), None);
    }
}
