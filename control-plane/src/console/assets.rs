//! Style sheets, modules and the icon: built into the program, addressed by the hash of them all, so that a browser keeps them for
//! ever and a new version of the program is never mixed with an old one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use rust_embed::RustEmbed;

use super::fault::Fault;
use crate::app::App;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Returns the folder of the assets, for example `/static/3f0a…`. Modules import one another by names relative to it.
pub(super) fn base() -> String {
    format!("/static/{}", bundle())
}

/// Names what the program has built in: the first 64 bits of a hash over every file's hash.
fn bundle() -> String {
    let mut files: Vec<_> = Static::iter().collect();
    files.sort();
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for file in files.iter().filter_map(|file| Static::get(file)) {
        hash.update(&file.metadata.sha256_hash());
    }
    HEXLOWER.encode(hash.finish().as_ref().get(..8).unwrap_or_default())
}

/// Answers `GET /static/{bundle}/{file}`. Under an outdated bundle the present file is given, but not to be kept.
pub(super) async fn serve(Path((of, file)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Fault> {
    let cache = if of == bundle() { FOR_EVER } else { ASK_AGAIN };
    answer(&file, cache, &headers)
}

/// Answers browsers that ask for an icon before they have read a page.
pub(super) async fn favicon(headers: HeaderMap) -> Result<Response, Fault> {
    answer("icon.svg", ASK_AGAIN, &headers)
}

/// Answers with the certificate of our authority, which whoever connects to a gateway's TLS listener has to trust. Public, as
/// certificates are; a browser saves it as a file.
pub(super) async fn authority(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-pem-file"), (header::CONTENT_DISPOSITION, "attachment; filename=\"postern-ca.pem\"")];
    (kind, app.trust.current().issuing().pem().to_owned()).into_response()
}

fn answer(name: &str, cache: HeaderValue, headers: &HeaderMap) -> Result<Response, Fault> {
    let file = Static::get(name).ok_or(Fault::NotFound)?;
    let kind = media_type(name).ok_or(Fault::NotFound)?;
    let tag = format!("\"{}\"", HEXLOWER.encode(file.metadata.sha256_hash().get(..16).unwrap_or_default()));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let facts = [(header::CACHE_CONTROL, cache), (header::ETAG, HeaderValue::try_from(tag).map_err(|_| Fault::NotFound)?)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, facts).into_response());
    }
    Ok((facts, [(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response())
}

fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_kept_for_ever_under_its_bundle_and_never_under_another() {
        let headers = HeaderMap::new();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ask = |bundle: String| tokio.block_on(serve(Path((bundle, "base.css".to_owned())), headers.clone())).unwrap();
        assert_eq!(ask(bundle()).headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(ask("0000".to_owned()).headers()[header::CACHE_CONTROL], "no-cache");
    }

    #[test]
    fn a_known_tag_is_answered_without_a_body() {
        let first = answer("console.js", ASK_AGAIN, &HeaderMap::new()).unwrap();
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
        assert_eq!(answer("console.js", ASK_AGAIN, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn every_asset_has_a_media_type_and_no_other_file_is_served() {
        assert!(Static::iter().all(|name| media_type(&name).is_some()));
        assert!(answer("../Cargo.toml", ASK_AGAIN, &HeaderMap::new()).is_err());
    }

    #[test]
    fn modules_insert_html_in_one_place_only() {
        for name in Static::iter().filter(|name| name.ends_with(".js") && *name != "html.js") {
            let text = String::from_utf8(Static::get(&name).unwrap().data.into_owned()).unwrap();
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"] {
                assert!(!text.contains(way), "{name} uses {way}");
            }
        }
    }
}
