//! The sign-in of people: locks, sessions, forms and the change of a password.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::routing::{get, post};
use postern_control::app::App;
use postern_control::auth::console::{ConsoleForm, ConsolePrincipal, SameOrigin};
use postern_control::auth::password::Unfit;
use postern_control::auth::sign_in::{self, ChangePasswordError, SignInError};
use postern_control::auth::users::{self, CreateUserError};
use postern_control::auth::{Actor, Role};
use postern_control::store::StoreError;
use postern_control::store::audit::By;
use serde::Deserialize;
use tower::ServiceExt as _;

use super::{World, clock, tenant};

const NEW: &str = "a much better password";

/// Makes a user and returns the first password.
async fn user(world: &World, name: &str, of: &str, role: Role) -> String {
    users::create_user(world.app.stores.system(), name, &tenant(of), role, clock::now()).await.unwrap()
}

/// Returns the `Cookie` header of a new user's session.
pub(crate) async fn cookie_of_a_new_user(world: &World, of: &str, role: Role) -> String {
    let password = user(world, "somebody", of, role).await;
    cookie(&sign_in::sign_in(&world.app, "somebody", &password, None).await.ok().unwrap().set_cookie)
}

/// Makes the user `ann` with the password [`NEW`] and returns the `Cookie` header of her session.
async fn ann(world: &World) -> String {
    let first = user(world, "ann", "a", Role::Operator).await;
    let session = sign_in::sign_in(&world.app, "ann", &first, None).await.ok().unwrap();
    let principal = principal(world, &cookie(&session.set_cookie)).await.unwrap();
    cookie(&sign_in::change_password(&world.app, &principal, &first, NEW).await.ok().unwrap().set_cookie)
}

fn cookie(set_cookie: &HeaderValue) -> String {
    set_cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// Takes the principal from a cookie, as a page that may always be seen does.
async fn principal(world: &World, cookie: &str) -> Option<ConsolePrincipal> {
    use axum::extract::FromRequestParts as _;
    let request = Request::get("/change-password").header("cookie", cookie).body(()).unwrap();
    ConsolePrincipal::from_request_parts(&mut request.into_parts().0, &world.app).await.ok()
}

#[derive(Deserialize)]
struct Note {
    text: String,
}

/// A console in small.
fn console(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(async |session: ConsolePrincipal| session.user))
        .route("/change-password", get(async |session: ConsolePrincipal| session.user))
        .route("/sign-in", post(async |_: SameOrigin| "in"))
        .route("/note", post(async |note: ConsoleForm<Note>| format!("{}: {}", note.principal.user, note.form.text)))
        .with_state(Arc::clone(app))
}

/// Sends a request to the console in small; returns status, `Location` and body.
async fn send(world: &World, request: Request<Body>) -> (StatusCode, String, String) {
    let response = console(&world.app).oneshot(request).await.unwrap();
    let location = response.headers().get(header::LOCATION).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, location, String::from_utf8(body.to_vec()).unwrap())
}

async fn see(world: &World, path: &str, cookie: &str) -> (StatusCode, String, String) {
    send(world, Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap()).await
}

/// Runs SQL on the system database: time passes this way.
async fn sql(world: &World, text: &'static str) {
    world.app.stores.system().write(move |tx| Ok(tx.execute_batch(text)?)).await.unwrap();
}

#[tokio::test]
async fn a_first_password_leads_to_its_change_and_nowhere_else() {
    let world = World::new().await;
    let first = user(&world, "ann", "a", Role::Operator).await;
    let session = sign_in::sign_in(&world.app, "ann", &first, None).await.ok().unwrap();
    assert!(session.must_change_password && session.set_cookie.is_sensitive());
    let text = session.set_cookie.to_str().unwrap();
    assert!(text.starts_with("__Host-postern=") && text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{text}");
    let old = cookie(&session.set_cookie);
    assert_eq!(see(&world, "/", &old).await, (StatusCode::SEE_OTHER, "/change-password".into(), String::new()));
    let person = principal(&world, &old).await.unwrap();
    let change = async |current: &str, new: &str| sign_in::change_password(&world.app, &person, current, new).await;
    assert!(matches!(change(&first, "short").await, Err(ChangePasswordError::Unfit(Unfit::TooShort))));
    assert!(matches!(change(&first, &first).await, Err(ChangePasswordError::Unfit(Unfit::Old))));
    assert!(matches!(change("not it at all", NEW).await, Err(ChangePasswordError::Wrong)));
    let session = change(&first, NEW).await.ok().unwrap();
    assert_eq!(see(&world, "/", &cookie(&session.set_cookie)).await.2, "ann");
    assert_eq!(see(&world, "/", &old).await.1, "/sign-in", "the change ends all earlier sessions");
    assert!(matches!(sign_in::sign_in(&world.app, "ann", &first, None).await, Err(SignInError::Wrong)));
    assert!(!sign_in::sign_in(&world.app, "ann", NEW, None).await.ok().unwrap().must_change_password);
}

#[tokio::test]
async fn five_failures_lock_for_a_while() {
    let world = World::new().await;
    let first = user(&world, "ann", "a", Role::Operator).await;
    for _ in 0..5 {
        assert!(matches!(sign_in::sign_in(&world.app, "ann", "wrong", None).await, Err(SignInError::Wrong)));
    }
    assert!(matches!(sign_in::sign_in(&world.app, "ann", &first, None).await, Err(SignInError::Locked { until }) if until > clock::now()));
    sql(&world, "UPDATE user SET locked_until = 1").await;
    assert!(matches!(sign_in::sign_in(&world.app, "ann", "wrong", None).await, Err(SignInError::Wrong)));
    assert!(sign_in::sign_in(&world.app, "ann", &first, None).await.is_ok(), "one failure after the lock does not lock again");
    for _ in 0..4 {
        assert!(matches!(sign_in::sign_in(&world.app, "ann", "wrong", None).await, Err(SignInError::Wrong)));
    }
    assert!(sign_in::sign_in(&world.app, "ann", &first, None).await.is_ok(), "a success forgets the failures before it");
}

#[tokio::test]
async fn a_name_that_no_user_has_locks_just_the_same() {
    let world = World::new().await;
    for _ in 0..5 {
        assert!(matches!(sign_in::sign_in(&world.app, "nobody", "wrong", None).await, Err(SignInError::Wrong)));
    }
    assert!(
        matches!(sign_in::sign_in(&world.app, "nobody", "wrong", None).await, Err(SignInError::Locked { until }) if until > clock::now())
    );
    sql(&world, "UPDATE unknown_sign_in SET locked_until = 1").await;
    assert!(matches!(sign_in::sign_in(&world.app, "nobody", "wrong", None).await, Err(SignInError::Wrong)));
}

#[tokio::test]
async fn attempts_side_by_side_check_no_more_passwords_than_one_after_the_other() {
    let world = World::new().await;
    user(&world, "ann", "a", Role::Operator).await;
    let attempts = (0..20).map(|_| sign_in::sign_in(&world.app, "ann", "wrong", None));
    let results = futures_util::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Err(SignInError::Wrong))).count(), 5);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(SignInError::Locked { .. }))).count(), 15);
}

#[tokio::test]
async fn an_admin_unlocks_a_user() {
    let world = World::new().await;
    let first = user(&world, "ann", "a", Role::Operator).await;
    for _ in 0..5 {
        sign_in::sign_in(&world.app, "ann", "wrong", None).await.err().unwrap();
    }
    let system = world.app.stores.system();
    assert!(system.list_users(&tenant("a")).await.unwrap()[0].locked_until.is_some());
    system.unlock_user("ann", (By::command_line(), clock::now())).await.unwrap();
    assert!(sign_in::sign_in(&world.app, "ann", &first, None).await.is_ok());
    assert!(matches!(system.unlock_user("nobody", (By::command_line(), clock::now())).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_old_or_signed_out() {
    let world = World::new().await;
    let session = ann(&world).await;
    let person = principal(&world, &session).await.unwrap();
    assert_eq!(person.principal.tenant, tenant("a"));
    assert_eq!((person.principal.actor.clone(), person.principal.role), (Actor::User { name: "ann".into() }, Role::Operator));
    assert!(person.is_good(&world.app).await);
    sql(&world, "UPDATE session SET last_used_at = last_used_at - 1799 * 1000000000").await;
    assert_eq!(see(&world, "/", &session).await.2, "ann", "and its use is written down");
    sql(&world, "UPDATE session SET last_used_at = last_used_at - 1801 * 1000000000").await;
    assert_eq!(see(&world, "/", &session).await.1, "/sign-in");
    assert!(!person.is_good(&world.app).await);
    let signed_in = async || cookie(&sign_in::sign_in(&world.app, "ann", NEW, None).await.ok().unwrap().set_cookie);
    let session = signed_in().await;
    sql(&world, "UPDATE session SET expires_at = 1").await;
    assert_eq!(see(&world, "/", &session).await.1, "/sign-in");
    let session = signed_in().await;
    let person = principal(&world, &session).await.unwrap();
    let forget = sign_in::sign_out(&world.app, &person).await.unwrap();
    assert!(forget.to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(see(&world, "/", &session).await.1, "/sign-in");
}

#[tokio::test]
async fn what_people_do_with_their_accounts_is_in_their_tenants_audit_and_strangers_are_counted() {
    let world = World::new().await;
    let cookie = ann(&world).await;
    assert!(sign_in::sign_in(&world.app, "ann", "wrong", None).await.is_err());
    for stranger in ["bob", "eve"] {
        let from = Some("192.0.2.7".parse().unwrap());
        assert!(matches!(sign_in::sign_in(&world.app, stranger, "wrong", from).await, Err(SignInError::Wrong)));
    }
    let session = principal(&world, &cookie).await.unwrap();
    sign_in::sign_out(&world.app, &session).await.unwrap();
    let audit = world.app.stores.tenant(&tenant("a")).unwrap().audit(100, None).await.unwrap();
    let told: Vec<(&str, bool)> = audit.iter().rev().map(|entry| (entry.what.as_str(), entry.refused.is_none())).collect();
    let expected = [("user-changed", true), ("sign-in", true), ("password-changed", true), ("sign-in", false), ("sign-out", true)];
    assert_eq!(told, expected);
    let minute_later = clock::now().saturating_add(std::time::Duration::from_secs(60));
    world.app.stores.system().note_unknown_sign_ins(minute_later).await.unwrap();
    let strangers = world.app.stores.system().read(|db| postern_control::store::audit::list(db, 100, None)).await.unwrap();
    let strangers: Vec<_> = strangers.iter().filter(|entry| entry.what == "sign-in").collect();
    assert_eq!((strangers.len(), strangers[0].from.as_deref()), (1, Some("192.0.2.7")));
    assert!(strangers[0].detail.starts_with("2 ") && !strangers[0].detail.contains("bob"), "{}", strangers[0].detail);
}

#[tokio::test]
async fn an_access_token_is_no_session() {
    let world = World::new().await;
    let token = world.token("a", Role::Admin).await;
    assert_eq!(see(&world, "/", &format!("__Host-postern={token}")).await.1, "/sign-in");
    assert_eq!(see(&world, "/", "").await.1, "/sign-in");
}

#[tokio::test]
async fn a_form_needs_the_sessions_token_and_our_own_page() {
    let world = World::new().await;
    let session = ann(&world).await;
    let csrf = principal(&world, &session).await.unwrap().csrf;
    let form = async |headers: &[(&str, &str)], body: String| {
        let mut request = Request::post("/note").header("host", "console").header("cookie", &session);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(&world, request.body(Body::from(body)).unwrap()).await
    };
    let good = format!("csrf={csrf}&text=h%C3%A9llo");
    assert_eq!(form(&[], good.clone()).await.2, "ann: héllo");
    assert_eq!(form(&[("origin", "https://console"), ("sec-fetch-site", "same-origin")], good.clone()).await.0, StatusCode::OK);
    assert_eq!(form(&[("x-csrf-token", &csrf)], "text=x".into()).await.2, "ann: x");
    for (headers, body) in [
        (vec![], "text=x".to_owned()),
        (vec![], "csrf=&text=x".to_owned()),
        (vec![], format!("csrf={}&text=x", csrf.to_lowercase())),
        (vec![("x-csrf-token", "x")], good.clone()),
        (vec![("origin", "https://evil")], good.clone()),
        (vec![("sec-fetch-site", "cross-site")], good.clone()),
        (vec![("sec-fetch-site", "same-site")], good.clone()),
    ] {
        assert_eq!(form(&headers, body.clone()).await.0, StatusCode::FORBIDDEN, "{headers:?} {body}");
    }
    assert_eq!(form(&[], format!("csrf={csrf}")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let other = cookie_of_a_new_user(&world, "a", Role::Operator).await;
    let stolen = Request::post("/note").header("cookie", other).header("content-type", "application/x-www-form-urlencoded");
    assert_ne!(send(&world, stolen.body(Body::from(good)).unwrap()).await.0, StatusCode::OK, "each session has its own token");
}

#[tokio::test]
async fn a_sign_in_from_another_sites_page_is_refused() {
    let world = World::new().await;
    let from = async |site: &str| {
        let request = Request::post("/sign-in").header("host", "console").header("sec-fetch-site", site);
        send(&world, request.body(Body::empty()).unwrap()).await.0
    };
    assert_eq!(from("same-origin").await, StatusCode::OK);
    assert_eq!(from("cross-site").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn user_names_are_checked_and_unique() {
    let world = World::new().await;
    user(&world, "ann", "a", Role::Viewer).await;
    let create =
        async |name: &str, of: &str| users::create_user(world.app.stores.system(), name, &tenant(of), Role::Viewer, clock::now()).await;
    assert!(matches!(create("ann", "b").await, Err(CreateUserError::Store(StoreError::Conflict(_)))));
    assert!(matches!(create("bob", "nowhere").await, Err(CreateUserError::Store(StoreError::NotFound))));
    for name in ["", "Ann", "client:x", "a b", "gateway:x"] {
        assert!(matches!(create(name, "a").await, Err(CreateUserError::Name)), "{name}");
    }
}

#[tokio::test]
async fn the_databases_hold_no_password_no_cookie_and_no_token() {
    let world = World::new().await;
    let cookie = ann(&world).await;
    let access = world.token("a", Role::Viewer).await;
    let secrets = [NEW, cookie.split_once('=').unwrap().1, &access];
    let folder = &world.app.config.data_dir;
    let files = ["system.db", "system.db-wal"].map(|name| std::fs::read(folder.join(name)).unwrap());
    for secret in secrets {
        let holds = |file: &Vec<u8>| file.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(secret.len() > 20 && !files.iter().any(holds), "{secret}");
    }
}
