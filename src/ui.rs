//! The page that dispatchers and engineers live in: standard ES modules in `ui/`, served as they are written.
//!
//! There is no build step. The files are a part of the binary, under an address that names this version of all of
//! them: a browser keeps each for good, and after an upgrade asks for none of the old ones. The page itself is one
//! small document, the same at all of its addresses, which a browser asks for each time.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use crate::http::problem::{ApiError, not_found};

#[derive(RustEmbed)]
#[folder = "src/ui"]
#[include = "*.js"]
#[include = "*.css"]
#[include = "*.svg"]
#[include = "*.html"]
#[include = "vendor/*.mjs"]
#[include = "vendor/LICENSE.*"]
#[exclude = "vendor/refresh.mjs"]
struct Files;

const DOCUMENT: &str = "index.html";

/// What a file may do that runs by itself: a worker asks callbook.
const FILE_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'";

/// Which version of the files this is. In a debug build, they are those of the working tree.
fn version() -> String {
    static RELEASED: LazyLock<String> = LazyLock::new(digest);
    if cfg!(debug_assertions) { digest() } else { RELEASED.clone() }
}

fn digest() -> String {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort_unstable();
    let hashes = names.iter().filter_map(|name| Some((name, Files::get(name)?.metadata.sha256_hash())));
    let all = hashes.fold(Sha256::new(), |all, (name, hash)| all.chain_update(&**name).chain_update(hash));
    all.finalize()[..8].iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The page. What it shows is up to its scripts, which go by the address.
pub async fn document(uri: Uri) -> Result<Response, ApiError> {
    let file = Files::get(DOCUMENT).ok_or_else(|| ApiError::NotFound { path: uri.path().to_owned() })?;
    let document = String::from_utf8_lossy(&file.data);
    let nonce = format!("{:032x}", rand::random::<u128>());
    let document = document.replace("{version}", &version()).replace("{nonce}", &nonce);
    // Scripts and styles of ours only, and nothing from elsewhere. The nonce is for the list of modules, which has to be
    // in the document, and for what a library puts beside a waveform.
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).map_err(ApiError::internal)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    Ok((headers, document).into_response())
}

/// What is at no address: the page says so to whoever looks for one, and a problem to all others.
pub async fn nowhere(headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return Err(not_found(uri).await);
    }
    let mut page = document(uri).await?;
    *page.status_mut() = StatusCode::NOT_FOUND;
    Ok(page)
}

/// A file of the page, of this version only: half of one version with half of another is no page.
pub async fn file(Path((of, name)): Path<(String, String)>, uri: Uri) -> Result<Response, ApiError> {
    let file = (of == version() && name != DOCUMENT).then(|| Files::get(&name)).flatten();
    let file = file.ok_or_else(|| ApiError::NotFound { path: uri.path().to_owned() })?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::try_from(file.metadata.mimetype()).map_err(ApiError::internal)?),
        // A worker goes by the policy of its own file.
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(FILE_POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, file.data).into_response())
}
