//! The preferences of a browser, which are in its cookies.

use hyper::HeaderMap;
use hyper::header::COOKIE;

/// Cookies with a browser's preferences. They are not secret and grant nothing.
pub(super) const THEME_COOKIE: &str = "keyreeve_theme";
pub(super) const SHORTCUTS_COOKIE: &str = "keyreeve_shortcuts";
pub(super) const SIZE_COOKIE: &str = "keyreeve_page_size";
/// Keys on one page, as a user may choose.
pub(super) const SIZES: [u32; 4] = [10, 25, 50, 100];
const SIZE_DEFAULT: u32 = 25;

/// The preferences of a browser.
#[derive(Clone, Debug)]
pub(super) struct Preferences {
    /// `light`, `dark`, or empty to follow the system.
    pub(super) theme: &'static str,
    pub(super) has_shortcuts: bool,
    pub(super) page_size: u32,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            theme: "",
            has_shortcuts: true,
            page_size: SIZE_DEFAULT,
        }
    }
}

impl Preferences {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let size = cookie(headers, SIZE_COOKIE).and_then(|text| text.parse().ok());
        Self {
            theme: match cookie(headers, THEME_COOKIE) {
                Some("light") => "light",
                Some("dark") => "dark",
                Some(_) | None => "",
            },
            has_shortcuts: cookie(headers, SHORTCUTS_COOKIE) != Some("off"),
            page_size: size.filter(|size| SIZES.contains(size)).unwrap_or(SIZE_DEFAULT),
        }
    }
}

/// Returns a cookie of a request.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}
