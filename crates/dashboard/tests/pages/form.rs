//! What a browser sends of a form.

/// Returns the value of an attribute of a tag, as text.
pub fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(unescaped(value))
}

fn unescaped(html: &str) -> String {
    let escapes = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ];
    escapes
        .iter()
        .fold(html.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// Returns the fields of the form with this action, with the values that the page has. If there are several, it is the one
/// with the most fields.
pub fn fields(html: &str, action: &str) -> Vec<(String, String)> {
    let action = format!("action=\"{action}\"");
    let is_it = |form: &&str| form.split('>').next().is_some_and(|tag| tag.contains(&action));
    let forms = html.split("<form ").skip(1).filter(is_it);
    let forms = forms.map(|form| form.split("</form>").next().unwrap());
    let form = forms.max_by_key(|form| form.matches(" name=").count());
    let form = form.unwrap_or_else(|| panic!("no form with {action} in {html}"));
    let mut fields = Vec::new();
    let mut rest = form;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, content) = after.split_once('>').unwrap();
        rest = content;
        let value = match tag.split(' ').next().unwrap() {
            "input" => input(tag),
            "textarea" => content.split("</textarea>").next().map(unescaped),
            "select" => chosen(content.split("</select>").next().unwrap()),
            _ => None,
        };
        if let (Some(name), Some(value)) = (attribute(tag, "name"), value) {
            fields.push((name, value));
        }
    }
    fields
}

fn input(tag: &str) -> Option<String> {
    let is_box = matches!(attribute(tag, "type").as_deref(), Some("checkbox" | "radio"));
    match is_box && !tag.ends_with(" checked") {
        true => None,
        false => Some(attribute(tag, "value").unwrap_or_default()),
    }
}

/// Returns the value of the chosen option: the first one if none is.
fn chosen(options: &str) -> Option<String> {
    let options: Vec<_> = options.split("<option").skip(1).collect();
    let is_chosen = |option: &&&str| option.split('>').next().is_some_and(|tag| tag.ends_with(" selected"));
    let option = options.iter().find(is_chosen).or(options.first())?;
    let (tag, label) = option.split_once('>')?;
    attribute(tag, "value").or_else(|| label.split('<').next().map(unescaped))
}
