//! What each agent moves through the proxy: by its proxy user, else by its address; bounded, with the rest in one account.
//!
//! Tunnels count in their own account without a lock; the table is locked only when a tunnel begins or is refused and for reports.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use postern_protocol::status::intake::AgentAccount;

/// Most agents with an account of their own.
const MAX_AGENTS: usize = 1024;

/// Most agents in a report; the busiest ones.
const MAX_REPORTED: usize = 100;

/// The name of the account of all others; a proxy user cannot have it, because it is refused in the users' file.
pub(crate) const OTHERS: &str = "others";

/// Who uses the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Agent {
    /// An address, where no user is asked for.
    Address(IpAddr),
    /// A proxy user.
    User(Arc<str>),
}

/// One agent's account.
#[derive(Default)]
pub(crate) struct Account {
    open: AtomicU64,
    tunnels: AtomicU64,
    refused: AtomicU64,
    /// Bytes from the agent.
    pub(crate) up: AtomicU64,
    /// Bytes to the agent.
    pub(crate) down: AtomicU64,
}

/// A tunnel that is open, in its agent's account.
pub(crate) struct Tunnel(Arc<Account>);

impl Tunnel {
    /// Returns the account.
    pub(crate) fn account(&self) -> &Account {
        &self.0
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The accounts. A lock, not a task: it is held for a look-up, and a tunnel must not wait for another task's turn.
#[derive(Clone, Default)]
pub(crate) struct Agents(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    agents: HashMap<Agent, Arc<Account>>,
    others: Arc<Account>,
}

impl Agents {
    /// Counts a tunnel of `agent` that opens.
    pub(crate) fn open(&self, agent: Agent) -> Tunnel {
        let account = self.account(agent);
        account.open.fetch_add(1, Ordering::Relaxed);
        account.tunnels.fetch_add(1, Ordering::Relaxed);
        Tunnel(account)
    }

    /// Counts a request of `agent` that is refused.
    pub(crate) fn refused(&self, agent: Agent) {
        self.account(agent).refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the accounts, busiest first, those that find no place in one.
    pub(crate) fn report(&self) -> Vec<AgentAccount> {
        let mut accounts: Vec<AgentAccount> = {
            let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            table
                .agents
                .iter()
                .map(|(agent, account)| account.report(agent.name()))
                .chain([table.others.report(OTHERS.to_owned())])
                .collect()
        };
        let Some(mut others) = accounts.pop() else { return accounts };
        let bytes = |account: &AgentAccount| account.bytes_up.saturating_add(account.bytes_down);
        accounts.sort_by(|a, b| (bytes(b), b.tunnels, &a.agent).cmp(&(bytes(a), a.tunnels, &b.agent)));
        for account in accounts.split_off(MAX_REPORTED.min(accounts.len())) {
            others.open = others.open.saturating_add(account.open);
            others.tunnels = others.tunnels.saturating_add(account.tunnels);
            others.refused = others.refused.saturating_add(account.refused);
            others.bytes_up = others.bytes_up.saturating_add(account.bytes_up);
            others.bytes_down = others.bytes_down.saturating_add(account.bytes_down);
        }
        if others.tunnels > 0 || others.refused > 0 {
            accounts.push(others);
        }
        accounts
    }

    fn account(&self, agent: Agent) -> Arc<Account> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = table.agents.get(&agent) {
            return Arc::clone(account);
        }
        if table.agents.len() >= MAX_AGENTS {
            return Arc::clone(&table.others);
        }
        Arc::clone(table.agents.entry(agent).or_default())
    }
}

impl Agent {
    fn name(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::User(name) => name.to_string(),
        }
    }
}

impl Account {
    fn report(&self, agent: String) -> AgentAccount {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AgentAccount {
            agent,
            open: read(&self.open),
            tunnels: read(&self.tunnels),
            refused: read(&self.refused),
            bytes_up: read(&self.up),
            bytes_down: read(&self.down),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Agent {
        Agent::Address(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn tunnels_are_counted_for_their_agent_while_they_are_open_and_after() {
        let agents = Agents::default();
        let tunnel = agents.open(Agent::User("press-4".into()));
        tunnel.account().up.fetch_add(3, Ordering::Relaxed);
        agents.refused(address(1));
        let report = agents.report();
        assert_eq!(report.iter().map(|a| a.agent.as_str()).collect::<Vec<_>>(), ["press-4", "0.0.0.1"]);
        assert_eq!((report[0].open, report[0].tunnels, report[0].bytes_up, report[1].refused), (1, 1, 3, 1));
        drop(tunnel);
        assert_eq!((agents.report()[0].open, agents.report()[0].tunnels), (0, 1));
    }

    #[test]
    fn more_agents_than_the_table_holds_are_counted_as_others() {
        let agents = Agents::default();
        for n in 0..2000 {
            agents.refused(address(n));
        }
        let report = agents.report();
        assert_eq!((report.len(), report[MAX_REPORTED].agent.as_str()), (MAX_REPORTED + 1, OTHERS));
        assert_eq!(report.iter().map(|account| account.refused).sum::<u64>(), 2000);
        assert_eq!(agents.0.lock().unwrap().agents.len(), MAX_AGENTS);
    }
}
