//! Style sheets and scripts, embedded in the binary. A file name contains a part of the file's digest, so browsers may
//! cache it without limit.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use keyreeve_core::Digest;
use std::fmt::Write as _;
use std::sync::LazyLock;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Start of the paths of all static files.
pub(super) const ASSETS_PATH: &str = "/assets/";

/// A static file of the dashboard.
pub(super) struct Asset {
    pub(super) address: String,
    content_type: &'static str,
    body: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, content_type: &'static str, body: &'static str) -> Self {
        let digest = Digest::of(body.as_bytes());
        let mark = digest.bytes().iter().take(4).fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _written = write!(text, "{byte:02x}");
            text
        });
        Self {
            address: format!("{ASSETS_PATH}{stem}.{mark}.{ending}"),
            content_type,
            body,
        }
    }
}

/// The static files that pages refer to.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    pub(super) reveal: Asset,
    pub(super) icon: Asset,
}

/// The static files with their names.
pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new("dashboard", "css", CSS, include_str!("../assets/dashboard.css")),
    script: Asset::new("dashboard", "js", SCRIPT, include_str!("../assets/dashboard.js")),
    reveal: Asset::new("reveal", "js", SCRIPT, include_str!("../assets/reveal.js")),
    icon: Asset::new("icon", "svg", PICTURE, include_str!("../assets/icon.svg")),
});

/// Serves a static file by its name.
pub(super) async fn get(Path(name): Path<String>) -> Response {
    let assets = &*ASSETS;
    let all = [&assets.style, &assets.script, &assets.reveal, &assets.icon];
    let is_it = |asset: &&Asset| asset.address.strip_prefix(ASSETS_PATH) == Some(name.as_str());
    match all.into_iter().find(is_it) {
        Some(asset) => (
            [
                (CONTENT_TYPE, asset.content_type),
                (CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            asset.body,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
