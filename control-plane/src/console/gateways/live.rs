//! Keeps the pages about gateways true: after a change, the part that it concerns is rendered again.

use std::collections::HashMap;

use postern_protocol::id::GatewayId;

use super::{detail, find, list, revisions, secrets, waiting_room};
use crate::app::App;
use crate::auth::console::ConsolePrincipal;
use crate::console::events::{Batch, Part};
use crate::console::fault::Fault;
use crate::feed::Change;

/// Who reads the list.
pub(in crate::console) struct GatewaysReader {
    /// The rows as they were sent, by the identifier of their element; nothing before the first reading.
    sent: HashMap<String, String>,
}

impl GatewaysReader {
    /// Begins with the whole table.
    pub(in crate::console) fn begin() -> Self {
        Self { sent: HashMap::new() }
    }

    /// Whether a change may concern this reader: any gateway, and any alert, for their numbers are in the rows.
    pub(in crate::console) fn concerns(&self, change: &Change) -> bool {
        matches!(change, Change::Gateway { .. } | Change::Alert { .. })
    }

    /// Forgets what was sent: the next reading sends the table.
    pub(in crate::console) fn lagged(&mut self) {
        self.sent.clear();
    }

    /// Renders the rows that changed, or the table when a row is new.
    pub(in crate::console) async fn read(&mut self, app: &App, person: &ConsolePrincipal) -> Result<Batch, Fault> {
        let rows = list::rows(app, &person.principal).await?;
        let same_rows = rows.len() == self.sent.len() && rows.iter().all(|row| self.sent.contains_key(&row.id));
        let mut events = Vec::new();
        for row in rows.iter().filter(|row| same_rows && self.sent.get(&row.id) != Some(&row.html)) {
            events.push(Part { id: &row.id, html: &row.html }.event()?);
        }
        self.sent = rows.iter().map(|row| (row.id.clone(), row.html.clone())).collect();
        if !same_rows {
            events.push(Part { id: "gateways", html: &list::table(person, rows)? }.event()?);
        }
        Ok(Batch { events, more: false })
    }
}

/// A gateway's page that one element holds.
#[derive(Clone, Copy)]
pub(in crate::console) enum GatewayPart {
    /// What the gateway says of itself.
    Gateway,
    /// Its key and secrets.
    Secrets,
    /// Whom it refused.
    WaitingRoom,
}

/// Who reads such a page.
pub(in crate::console) struct GatewayReader {
    id: GatewayId,
    part: GatewayPart,
    sent: String,
}

impl GatewayReader {
    /// Begins with the page as it is now.
    pub(in crate::console) fn begin(id: GatewayId, part: GatewayPart) -> Self {
        Self { id, part, sent: String::new() }
    }

    /// Whether a change may concern this reader.
    pub(in crate::console) fn concerns(&self, change: &Change) -> bool {
        match (change, self.part) {
            (Change::Gateway { id }, _) => *id == self.id,
            (Change::Alert { .. }, GatewayPart::Gateway) => true, // the number of open alerts is on the page
            (Change::Alert { .. }, GatewayPart::Secrets | GatewayPart::WaitingRoom) => false,
        }
    }

    /// Renders the page's element.
    pub(in crate::console) async fn read(&mut self, app: &App, person: &ConsolePrincipal) -> Result<Batch, Fault> {
        let gateway = find(app, &person.principal, self.id.as_str()).await?;
        let (element, html) = match self.part {
            GatewayPart::Gateway => ("gateway", detail::body(app, person, &gateway).await?),
            GatewayPart::Secrets => ("secrets", secrets::body(app, person, &gateway).await?),
            GatewayPart::WaitingRoom => ("waiting-room", waiting_room::body(app, person, &gateway).await?),
        };
        if html == self.sent {
            return Ok(Batch::default());
        }
        let event = Part { id: element, html: &html }.event()?;
        self.sent = html;
        Ok(Batch::only(event))
    }
}

/// Who reads a gateway's configuration page.
pub(in crate::console) struct ConfigurationReader {
    id: GatewayId,
    sent: (String, String),
}

impl ConfigurationReader {
    /// Begins with the state as it is now.
    pub(in crate::console) fn begin(id: GatewayId) -> Self {
        Self { id, sent: Default::default() }
    }

    /// Whether a change may concern this reader.
    pub(in crate::console) fn concerns(&self, change: &Change) -> bool {
        matches!(change, Change::Gateway { id } if *id == self.id)
    }

    /// Renders how far the newest revision got, and the list of all.
    pub(in crate::console) async fn read(&mut self, app: &App, person: &ConsolePrincipal) -> Result<Batch, Fault> {
        let gateway = find(app, &person.principal, self.id.as_str()).await?;
        let all = app.stores.tenant(&person.principal.tenant)?.list_revisions(&gateway.id).await?;
        let now = (revisions::panel(&gateway, &all)?, revisions::list(&gateway, &all, None, app.now())?);
        let mut events = Vec::new();
        if now.0 != self.sent.0 {
            events.push(Part { id: "revision-panel", html: &now.0 }.event()?);
        }
        if now.1 != self.sent.1 {
            events.push(Part { id: "revisions", html: &now.1 }.event()?);
        }
        self.sent = now;
        Ok(Batch { events, more: false })
    }
}
