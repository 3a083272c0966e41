//! The text of a page for a reviewer: the request, the status, how it differs around the content from the user's other pages, and
//! the content. Nothing of a page is left out: the frame has its own snapshot.

use hyper::StatusCode;

/// A longer line is broken between its tags.
const LINE_MAX: usize = 160;

/// The answer to a request.
pub struct Page {
    /// Method, address and user.
    pub request: String,
    pub status: StatusCode,
    pub location: Option<String>,
    pub html: String,
}

/// Compares a text with its snapshot.
pub fn review(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Returns what surrounds the content of a page, line by line.
pub fn frame(html: &str) -> Vec<String> {
    let (before, _, after) = split(html);
    lines(&format!("{before}<main/>{after}"))
}

/// Returns a page before its content, its content, and what comes after it.
fn split(html: &str) -> (&str, String, &str) {
    let (before, rest) = html
        .split_once("<main ")
        .unwrap_or_else(|| panic!("no content: {html}"));
    let (content, after) = rest.split_once("</main>").unwrap();
    (before, format!("<main {content}</main>"), after)
}

/// Returns a page as text.
pub fn readable(page: &Page, frames: &[Vec<String>]) -> String {
    let mut text = vec![page.request.clone(), page.status.to_string()];
    let frame = frame(&page.html);
    let missing = |lines: &[String], others: &[String]| lines.iter().filter(|line| !others.contains(line)).count();
    let difference = |usual: &&Vec<String>| missing(usual, &frame) + missing(&frame, usual);
    let usual = frames.iter().min_by_key(difference).unwrap();
    let differs = |lines: &[String], others: &[String], mark: &str| -> Vec<String> {
        let new = lines.iter().filter(|line| !others.contains(line));
        new.map(|line| format!("{mark} {line}")).collect()
    };
    text.extend(differs(usual, &frame, "-"));
    text.extend(differs(&frame, usual, "+"));
    text.push(String::new());
    text.extend(lines(&split(&page.html).1));
    text.join("\n")
}

fn lines(html: &str) -> Vec<String> {
    let lines = html.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.flat_map(|line| broken(&without_digests(line))).collect()
}

/// Breaks a long line before each tag that opens after another tag, except inside a picture.
fn broken(line: &str) -> Vec<String> {
    if line.chars().count() <= LINE_MAX {
        return vec![line.to_owned()];
    }
    let joined = ["", "bdi", "rect", "path", "use", "circle", "line", "text", "title"];
    let is_joined = |part: &str| {
        part.split([' ', '>', '/'])
            .next()
            .is_some_and(|tag| joined.contains(&tag))
    };
    let (indent, _) = line.split_at(line.len() - line.trim_start().len());
    let mut parts = line.split("><");
    let mut broken = vec![parts.next().unwrap_or("").to_owned()];
    for part in parts {
        let last = broken.last_mut().unwrap();
        last.push('>');
        match is_joined(part) {
            true => last.extend(["<", part]),
            false => broken.push(format!("{indent}  <{part}")),
        }
    }
    broken
}

/// Replaces the digests in the names of styles and scripts: a change of a style is no change of a page.
fn without_digests(line: &str) -> String {
    let mut parts = line.split("/assets/");
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (name, rest) = part.split_once('"').unwrap();
        let ends: Vec<_> = name.split('.').collect();
        text = format!("{text}/assets/{}.DIGEST.{}\"{rest}", ends[0], ends[2]);
    }
    text
}
