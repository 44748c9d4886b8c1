//! `tenant`, `user` and `client`: who exists. Secrets are printed once.

use clap::{Args, Subcommand};
use postern_protocol::id::TenantId;
use serde::Serialize;

use super::CliError;
use super::print::Form;
use crate::auth::{Role, clients, users};
use crate::store::audit::{By, Deed, What};
use crate::store::{StoreError, Stores};
use crate::{clock, rfc3339};

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Create a tenant.
    Create {
        /// Identifier: a-z, 0-9, '-', '_', '.'.
        id: TenantId,
        /// Name for people; the identifier when left out.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        form: Form,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Create a user and print the first password.
    Create {
        /// Name for signing in.
        name: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        form: Form,
    },
    /// List a tenant's users.
    List {
        /// The tenant.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        form: Form,
    },
    /// Let a locked user sign in again.
    Unlock {
        /// The user.
        name: String,
    },
}

#[derive(Subcommand)]
pub(super) enum ClientCommand {
    /// Create an API client and print its secret.
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        form: Form,
    },
    /// List a tenant's API clients.
    List {
        /// The tenant.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        form: Form,
    },
    /// Revoke an API client and its access tokens.
    Revoke {
        /// The client.
        id: String,
        /// Its tenant.
        #[arg(long)]
        tenant: TenantId,
    },
}

#[derive(Args)]
pub(super) struct Of {
    /// The tenant.
    #[arg(long)]
    tenant: TenantId,
    /// admin, operator or viewer.
    #[arg(long, default_value = "admin", value_parser = role)]
    role: Role,
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "a role is admin, operator or viewer".to_owned())
}

#[derive(Serialize)]
struct NewUser {
    user: String,
    password: String,
}

#[derive(Serialize)]
struct NewClient {
    client_id: String,
    client_secret: String,
}

pub(super) async fn tenant(command: TenantCommand, stores: &Stores) -> Result<(), CliError> {
    match command {
        TenantCommand::Create { id, name, form } => {
            stores.create_tenant(&id, name.as_deref().unwrap_or(id.as_str()), clock::now()).await?;
            let deed = Deed::done(By::command_line(), What::TenantMade, format!("tenant {id}"), clock::now());
            stores.system().note(deed).await?;
            form.print(&serde_json::json!({ "id": id }), |_| vec![format!("Tenant {id} is created.")])
        }
        TenantCommand::List { form } => {
            let tenants = stores.system().list_tenants().await?;
            form.print(&tenants, |tenants| tenants.iter().map(|tenant| format!("{}\t{}", tenant.id, tenant.name)).collect())
        }
    }
}

pub(super) async fn user(command: UserCommand, stores: &Stores) -> Result<(), CliError> {
    let system = stores.system();
    match command {
        UserCommand::Create { name, of, form } => {
            exists(stores, &of.tenant)?;
            let password = users::create_user(system, &name, &of.tenant, of.role, clock::now()).await?;
            stores.deliver_notes(&of.tenant).await?;
            form.print(&NewUser { user: name, password }, |new| {
                vec![format!("User {} with password {}   (shown only now; to be changed at sign-in)", new.user, new.password)]
            })
        }
        UserCommand::List { tenant, form } => {
            exists(stores, &tenant)?;
            let users = system.list_users(&tenant).await?;
            form.print(&users, |users| {
                let locked = |until| format!("locked until {}", rfc3339::format(until));
                users
                    .iter()
                    .map(|user| format!("{}\t{}\t{}", user.name, user.role, user.locked_until.map(locked).unwrap_or_default()))
                    .collect()
            })
        }
        UserCommand::Unlock { name } => {
            let unlocked = system.unlock_user(&name, (By::command_line(), clock::now())).await;
            let tenant = unlocked.map_err(|error| missing(error, "user", &name))?;
            Ok(stores.deliver_notes(&tenant).await?)
        }
    }
}

pub(super) async fn client(command: ClientCommand, stores: &Stores) -> Result<(), CliError> {
    let system = stores.system();
    match command {
        ClientCommand::Create { of, form } => {
            exists(stores, &of.tenant)?;
            let new = clients::create_client(system, &of.tenant, of.role, clock::now()).await?;
            stores.deliver_notes(&of.tenant).await?;
            form.print(&NewClient { client_id: new.id, client_secret: new.secret }, |new| {
                vec![format!("client_id {}", new.client_id), format!("client_secret {}   (shown only now)", new.client_secret)]
            })
        }
        ClientCommand::List { tenant, form } => {
            exists(stores, &tenant)?;
            let clients = system.list_clients(&tenant).await?;
            form.print(&clients, |clients| clients.iter().map(|client| format!("{}\t{}", client.id, client.role)).collect())
        }
        ClientCommand::Revoke { id, tenant } => {
            let revoked = system.revoke_client(&tenant, &id, (By::command_line(), clock::now())).await;
            revoked.map_err(|error| missing(error, "client", &id))?;
            Ok(stores.deliver_notes(&tenant).await?)
        }
    }
}

fn exists(stores: &Stores, tenant: &TenantId) -> Result<(), CliError> {
    stores.tenant(tenant).map(drop).map_err(|error| missing(error, "tenant", tenant.as_str()))
}

/// Says what was not found.
pub(super) fn missing(error: StoreError, what: &str, id: &str) -> CliError {
    match error {
        StoreError::NotFound => CliError::Usage(format!("there is no {what} {id}")),
        other => other.into(),
    }
}
