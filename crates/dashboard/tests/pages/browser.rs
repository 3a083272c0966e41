//! A browser: cookies, forms, and the frame of the pages that it has seen.

use crate::form;
use crate::text::{self, Page};
use crate::world::{PASSWORD, World};
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use hyper::{HeaderMap, Method, Request};
use keyreeve_web::{ClientConnection, KnownCaller, RequestInfo};
use std::collections::BTreeMap;
use std::sync::Arc;
use tower::ServiceExt as _;

#[derive(Debug)]
struct Connection;

impl ClientConnection for Connection {
    fn note_known(&self) {}
}

pub struct Browser<'w> {
    world: &'w World,
    cookies: BTreeMap<String, String>,
    /// What surrounds the content of pages: without a session, and with this user's.
    frames: Vec<Vec<String>>,
    who: String,
}

impl<'w> Browser<'w> {
    /// Returns a browser without a session.
    pub async fn new(world: &'w World) -> Self {
        let mut browser = Self {
            world,
            cookies: BTreeMap::new(),
            frames: Vec::new(),
            who: "a visitor".to_owned(),
        };
        browser.keep_frame_of("/login").await;
        browser
    }

    /// Returns a browser in which a user of the only tenant with this address has signed in.
    pub async fn of(world: &'w World, email: &str) -> Self {
        let mut browser = Self::new(world).await;
        let page = browser
            .fill("/login", &[("email", email), ("password", PASSWORD)])
            .await;
        assert_eq!(page.location.as_deref(), Some("/"), "{}", page.html);
        email.clone_into(&mut browser.who);
        browser.keep_frame_of("/account").await;
        browser
    }

    async fn keep_frame_of(&mut self, path: &str) {
        let page = self.get(path).await;
        self.frames.push(text::frame(&page.html));
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    /// Sends a request, a second after the last one.
    async fn send(&mut self, method: Method, path: &str, body: String) -> Page {
        self.world.pass(1);
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(COOKIE, cookies.join("; "))
            .header(ACCEPT, "text/html")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(RequestInfo {
            id: "req_1".to_owned(),
            client: Some("192.0.2.1".parse().unwrap()),
            caller: KnownCaller::default(),
            connection: Arc::new(Connection),
        });
        let response = self.world.pages.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        self.keep_cookies(&parts.headers);
        let body = body.collect().await.unwrap().to_bytes();
        let location = parts
            .headers
            .get(LOCATION)
            .map(|value| value.to_str().unwrap().to_owned());
        Page {
            request: format!("{method} {path}, {}", self.who),
            status: parts.status,
            location,
            html: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, String::new()).await
    }

    /// Sends fields, as they are.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        self.send(Method::POST, path, fields.collect::<Vec<_>>().join("&"))
            .await
    }

    /// Opens the form at an address, fills in fields, and sends it.
    pub async fn fill(&mut self, path: &str, filled: &[(&str, &str)]) -> Page {
        let page = self.get(path).await;
        self.fill_in(&page, path, filled).await
    }

    /// Fills in fields of a form on a page, and sends it.
    pub async fn fill_in(&mut self, page: &Page, action: &str, filled: &[(&str, &str)]) -> Page {
        let action = action.split('?').next().unwrap();
        let mut fields = form::fields(&page.html, action);
        fields.retain(|(name, _)| filled.iter().all(|(filled, _)| filled != name));
        let mut sent: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        sent.extend(filled);
        self.post(action, &sent).await
    }

    /// Follows the redirect of a page.
    pub async fn follow(&mut self, page: &Page) -> Page {
        let address = page.location.as_deref();
        self.get(address.unwrap_or_else(|| panic!("{} is no redirect: {}", page.request, page.html)))
            .await
    }

    /// Compares a page with its snapshot.
    pub fn review(&self, name: &str, page: &Page) {
        text::review(name, &text::readable(page, &self.frames));
    }

    /// Compares what surrounds the content of this user's pages with its snapshot.
    pub fn review_frame(&self, name: &str) {
        text::review(name, &self.frames.last().unwrap().join("\n"));
    }

    /// Opens a page and compares it with its snapshot.
    pub async fn review_at(&mut self, name: &str, path: &str) {
        let page = self.get(path).await;
        self.review(name, &page);
    }
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
