//! Sign-in, sign-out and the change of a password.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::fault::Fault;
use super::moment::Moment;
use super::{assets, frame, page, url};
use crate::app::App;
use crate::auth;
use crate::auth::console::{ConsoleForm, ConsolePrincipal, ConsoleRejection, SameOrigin};
use crate::auth::password::MIN_CHARACTERS;
use crate::auth::sign_in::{self, ChangePasswordError, SignInError};

/// What a person is told when passwords are checked for too many others.
const BUSY: &str = "Too many people sign in at this moment. Try again in a few seconds.";

/// Where to go on after the sign-in.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The sign-in form. Holds a password: no `Debug`.
#[derive(Deserialize)]
pub(super) struct SignInForm {
    user: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// The form of a new password. Holds passwords: no `Debug`.
#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current: String,
    new: String,
    repeat: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    assets: String,
    problem: Option<String>,
    next: &'a str,
    user: &'a str,
}

#[derive(Template)]
#[template(path = "bounce.html")]
struct BouncePage {
    assets: String,
    to: String,
}

#[derive(Template)]
#[template(path = "change_password.html")]
struct PasswordPage<'a> {
    assets: String,
    csrf: &'a str,
    forced: bool,
    problem: Option<String>,
    shortest: usize,
    user: &'a str,
}

/// Shows the sign-in. Who is signed in already goes straight on.
///
/// A link in a chat or mail arrives without the cookie, because that is `SameSite=Strict`. One step within our own site brings it
/// along, so that nobody has to sign in twice.
pub(super) async fn sign_in_page(
    Query(Next { next }): Query<Next>,
    headers: HeaderMap,
    person: Result<ConsolePrincipal, ConsoleRejection>,
) -> Response {
    let next = url::local(&next);
    if person.is_ok() {
        return Redirect::to(next).into_response();
    }
    let from_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if from_elsewhere && !headers.contains_key(header::COOKIE) {
        return page::html(StatusCode::OK, &BouncePage { assets: assets::base(), to: url::sign_in(next) });
    }
    page::html(StatusCode::OK, &SignInPage { assets: assets::base(), problem: None, next, user: "" })
}

/// Signs a person in.
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    extensions: Extensions,
    _origin: SameOrigin,
    Form(form): Form<SignInForm>,
) -> Response {
    let from = auth::peer(&extensions);
    let next = url::local(&form.next);
    let (status, problem) = match sign_in::sign_in(&app, &form.user, &form.password, from).await {
        Ok(session) => {
            let to = if session.must_change_password { "/change-password" } else { next };
            return ([(header::SET_COOKIE, session.set_cookie)], Redirect::to(to)).into_response();
        }
        Err(SignInError::Wrong) => (StatusCode::UNAUTHORIZED, "The user name or the password is wrong.".to_owned()),
        Err(SignInError::Locked { until }) => {
            let until = Moment::new(until, app.now()).utc;
            (StatusCode::TOO_MANY_REQUESTS, format!("Too many attempts failed. The account is locked until {until}."))
        }
        Err(SignInError::Busy) => (StatusCode::SERVICE_UNAVAILABLE, BUSY.to_owned()),
        Err(SignInError::Internal(error)) => return Fault::internal(&error).into_response(),
    };
    page::html(status, &SignInPage { assets: assets::base(), problem: Some(problem), next, user: &form.user })
}

/// Signs the person out.
pub(super) async fn sign_out(State(app): State<Arc<App>>, form: ConsoleForm<page::NoFields>) -> Result<Response, Fault> {
    let cookie = sign_in::sign_out(&app, &form.principal).await?;
    // Not the bare address, which `frame` takes for a refusal.
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in?next=")).into_response())
}

/// Shows the form for a new password.
pub(super) async fn change_password_page(person: ConsolePrincipal) -> Response {
    password_page(&person, StatusCode::OK, None)
}

/// Changes the password.
pub(super) async fn change_password(State(app): State<Arc<App>>, form: ConsoleForm<PasswordForm>) -> Response {
    let (person, form) = (form.principal, form.form);
    if form.new != form.repeat {
        return password_page(&person, StatusCode::UNPROCESSABLE_ENTITY, Some("The new password was not repeated as it is.".to_owned()));
    }
    let problem = match sign_in::change_password(&app, &person, &form.current, &form.new).await {
        Ok(session) => return ([(header::SET_COOKIE, session.set_cookie)], Redirect::to("/alerts")).into_response(),
        Err(ChangePasswordError::Wrong) => "The current password is wrong.".to_owned(),
        Err(ChangePasswordError::Unfit(unfit)) => sentence(&unfit.to_string()),
        Err(ChangePasswordError::Locked { until }) => {
            format!("Too many attempts failed. The account is locked until {}.", Moment::new(until, app.now()).utc)
        }
        Err(ChangePasswordError::Busy) => BUSY.to_owned(),
        Err(ChangePasswordError::Internal(error)) => return Fault::internal(&error).into_response(),
    };
    password_page(&person, StatusCode::UNPROCESSABLE_ENTITY, Some(problem))
}

/// Says whether somebody is signed in; the live link asks when its stream is refused.
pub(super) async fn is_signed_in(person: Result<ConsolePrincipal, ConsoleRejection>) -> Response {
    match person {
        Ok(_) => frame::nothing(),
        Err(_) => (StatusCode::UNAUTHORIZED, "nobody is signed in").into_response(),
    }
}

fn password_page(person: &ConsolePrincipal, status: StatusCode, problem: Option<String>) -> Response {
    let page = PasswordPage {
        assets: assets::base(),
        csrf: &person.csrf,
        forced: person.must_change_password,
        problem,
        shortest: MIN_CHARACTERS,
        user: &person.user,
    };
    page::html(status, &page)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
