//! Removes the tokens of servers from a topology.

/// Name of the options that are secret.
const SECRET: &str = "token";

/// The text that replaces a secret.
const HIDDEN: &str = "...";

/// Returns the text of a topology with the value of each key `token` replaced.
pub(super) fn without_secrets(topology: &str) -> String {
    let mut text = String::with_capacity(topology.len());
    let mut rest = topology;
    while let Some(at) = rest.find(SECRET) {
        let (before, after) = rest.split_at(at + SECRET.len());
        text.push_str(before);
        rest = after;
        if let Some((begin, end)) = value_in(rest) {
            text.push_str(&rest[..begin]);
            text.push_str(HIDDEN);
            rest = &rest[end..];
        }
    }
    text.push_str(rest);
    text
}

/// Returns the position of the string after the name of its key; `None` if no string follows. A string that does not end
/// extends to the end of the text.
fn value_in(text: &str) -> Option<(usize, usize)> {
    let blank = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut at = usize::from(text.starts_with(['"', '\'']));
    at += blank(&text[at..]);
    at += text[at..].strip_prefix('=').map(|_| 1)?;
    at += blank(&text[at..]);
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quote = quotes.into_iter().find(|quote| text[at..].starts_with(quote))?;
    let begin = at + quote.len();
    let mut end = begin;
    while let Some(character) = text[end..].chars().next() {
        if text[end..].starts_with(quote) {
            break;
        }
        end += character.len_utf8();
        if character == '\\' && quote.starts_with('"') {
            end += text[end..].chars().next().map_or(0, char::len_utf8);
        }
    }
    Some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_hidden() {
        for (text, expected) in [
            ("a = { token = \"se\\\"cret\", b = 1 }\n", "a = { token = \"...\", b = 1 }\n"),
            ("token='x'\n\"token\"  = '''y\n'''", "token='...'\n\"token\"  = '''...'''"),
            ("# a token of thanks\ntoken = 5", "# a token of thanks\ntoken = 5"),
            ("options.token = \"ü", "options.token = \"..."),
            ("driver = \"synthetic\"", "driver = \"synthetic\""),
            ("kind = \"token\"\ntoken", "kind = \"token\"\ntoken"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
