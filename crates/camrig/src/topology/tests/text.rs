//! Tests of the text itself: files, terminals, line ends, and the rendering of problems.

use std::fs;
use std::path::Path;

use super::{VALID, parse, refused, registry};
use crate::topology::{FILE_BYTES_MAX, Topology};

#[test]
fn control_characters_of_the_file_are_escaped() {
    refused(
        "[camera.\"\\u001b[2J\"]\ndriver = \"even\\n\"\n",
        r#"
error: `\u{1b}[2J` cannot be the name of a camera
 --> t.toml:1:9
  |
1 | [camera."\u001b[2J"]
  |         ^^^^^^^^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit

error: camera `\u{1b}[2J` has unknown driver `even\n`
 --> t.toml:2:10
  |
2 | driver = "even\n"
  |          ^^^^^^^^ did you mean `even`? expected one of: `even`
"#,
    );
}

#[test]
fn lines_may_end_with_crlf() {
    refused(
        "[camera.left]\r\ndriver = \"evn\"\r\n",
        r#"
error: camera `left` has unknown driver `evn`
 --> t.toml:2:10
  |
2 | driver = "evn"
  |          ^^^^^ did you mean `even`? expected one of: `even`
"#,
    );
}

#[test]
fn files_that_are_not_topologies() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let read =
        |path: &Path| Topology::read(path, None, &registry()).map(drop).map_err(|error| error.to_string());
    let path = folder.join("t.toml");
    let said = |fact: &str| Err(format!("error: topology `{}` {fact}", path.display()));

    assert_eq!(read(&path), said("does not exist"));
    let of_folder = format!("error: topology `{}` is a directory, not a file", folder.display());
    assert_eq!(read(folder), Err(of_folder));
    fs::write(&path, "").unwrap();
    assert_eq!(read(&path), said("has no cameras; it needs at least one `[camera.NAME]`"));
    fs::write(&path, b"[camera.left]\nname = \"\xff\"").unwrap();
    assert_eq!(read(&path), said("is not UTF-8 text: see line 2"));
    fs::write(&path, vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
    assert_eq!(read(&path), said("is larger than 1024 KiB"));
    fs::write(&path, VALID).unwrap();
    assert_eq!(read(&path), Ok(()));
}

#[test]
fn a_style_adds_nothing_but_colors() {
    let problems = parse("[camera.left]").unwrap_err();
    let styled = problems.render(true);
    assert!(styled.contains("\x1b["));
    let mut plain = String::new();
    for (index, part) in styled.split("\x1b[").enumerate() {
        plain += if index == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, problems.to_string());
}

#[test]
fn only_the_first_of_many_problems_are_shown() {
    let keys: Vec<_> = (0..1000).map(|index| format!("k{index} = 0\n")).collect();
    let problems = parse(&keys.concat()).unwrap_err().to_string();
    assert!(problems.starts_with("error: unknown key `k0`\n --> t.toml:1:1\n"), "{problems}");
    assert!(problems.ends_with("\n\nerror: there are 936 more problems"), "{problems}");
}

#[test]
fn no_text_causes_a_panic() {
    let registry = registry();
    let survives = |text: &str| {
        if let Err(problems) = Topology::parse("t.toml", text, None, &registry) {
            assert!(problems.to_string().starts_with("error: "), "{text}");
        }
    };
    for end in 0..=VALID.len() {
        survives(&VALID[..end]);
        survives(&VALID[end..]);
    }
    for at in 0..VALID.len() {
        for byte in ['\0', '\n', '"', '[', ']', '{', '}', '.', '=', ',', '#', '9', 'z', '\'', '\\', 'ä'] {
            survives(&format!("{}{byte}{}", &VALID[..at], &VALID[at + 1..]));
            survives(&format!("{}{byte}{}", &VALID[..at], &VALID[at..]));
        }
    }
    survives(&"[".repeat(FILE_BYTES_MAX));
    survives(&"a.".repeat(FILE_BYTES_MAX / 2));
    survives(&format!("x = {}", "[".repeat(FILE_BYTES_MAX / 2)));
}
