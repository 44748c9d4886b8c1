//! What a person can choose.

use std::fmt::Write as _;

/// One entry of the menu, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Address by DHCP or fixed.
    Network,
    /// Host name.
    HostName,
    /// DNS resolvers.
    Dns,
    /// Time servers.
    Ntp,
    /// HTTP proxy.
    Proxy,
    /// Control plane and token.
    ControlPlane,
    /// Who may log in by SSH.
    SshKey,
    /// SSH on for a time, or off.
    Ssh,
    /// The two system slots.
    Slots,
    /// Start anew.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Erase everything.
    FactoryReset,
    /// What the gateway's doctor found last.
    Doctor,
}

impl Entry {
    /// All of them; an entry's number is its place, from 1.
    pub const ALL: [Self; 13] = [
        Self::Network,
        Self::HostName,
        Self::Dns,
        Self::Ntp,
        Self::Proxy,
        Self::ControlPlane,
        Self::SshKey,
        Self::Ssh,
        Self::Slots,
        Self::Reboot,
        Self::PowerOff,
        Self::FactoryReset,
        Self::Doctor,
    ];

    /// Returns its name in the menu.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Network => "Network address",
            Self::HostName => "Host name",
            Self::Dns => "DNS resolvers",
            Self::Ntp => "Time servers",
            Self::Proxy => "HTTP proxy",
            Self::ControlPlane => "Control plane, token",
            Self::SshKey => "SSH key",
            Self::Ssh => "SSH on or off",
            Self::Slots => "System slots",
            Self::Reboot => "Reboot",
            Self::PowerOff => "Power off",
            Self::FactoryReset => "Factory reset",
            Self::Doctor => "Doctor",
        }
    }
}

/// Who sits at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Someone at the machine's screen or serial port, which is never left.
    Local,
    /// Someone who came by SSH and can leave.
    Remote,
}

/// What a line in the menu means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Do this.
    Entry(Entry),
    /// Leave.
    LogOut,
    /// Look again.
    Refresh,
    /// Nothing that the menu has.
    Unknown,
}

impl Choice {
    /// Parses a line that was typed at the menu.
    pub fn parse(line: &str, session: Session) -> Self {
        match (line.trim(), session) {
            ("" | "r", _) => Self::Refresh,
            ("q", Session::Remote) => Self::LogOut,
            (number, _) => {
                let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                place.and_then(|place| Entry::ALL.get(place)).map_or(Self::Unknown, |entry| Self::Entry(*entry))
            }
        }
    }
}

/// Returns the menu and the question below it, in three columns: with the page it should fit a terminal of 24 lines.
pub fn menu(session: Session) -> String {
    const COLUMNS: usize = 3;
    let rows = Entry::ALL.len().div_ceil(COLUMNS);
    let mut text = String::new();
    for row in 0..rows {
        let mut line = String::new();
        for (place, entry) in Entry::ALL.into_iter().enumerate().skip(row).step_by(rows) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{:>3}  {:<21}", place + 1, entry.title());
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(match session {
        Session::Local => "\nNumber, or Enter to refresh: ",
        Session::Remote => "\nNumber, Enter to refresh, q to log out: ",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::text::WIDTH;

    #[test]
    fn every_entry_can_be_chosen_by_the_number_before_it() {
        for (place, entry) in Entry::ALL.into_iter().enumerate() {
            assert_eq!(Choice::parse(&format!(" {} ", place + 1), Session::Local), Choice::Entry(entry));
            assert!(menu(Session::Local).lines().all(|line| line.len() <= WIDTH));
            assert!(menu(Session::Local).contains(&format!("{:>3}  {}", place + 1, entry.title())));
        }
    }

    #[test]
    fn only_who_came_by_ssh_can_leave() {
        assert_eq!(Choice::parse("q", Session::Remote), Choice::LogOut);
        assert_eq!(Choice::parse("q", Session::Local), Choice::Unknown);
    }

    #[test]
    fn anything_else_is_unknown() {
        for line in ["0", "14", "-1", "1x", "sh", "99999999999999999999", "!bash"] {
            assert_eq!(Choice::parse(line, Session::Remote), Choice::Unknown, "{line}");
        }
    }
}
