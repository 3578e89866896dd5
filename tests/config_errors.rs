//! What `tidegate check` says of broken files, to the letter.
//!
//! Each `fixtures/config/NAME.toml` has its report in `NAME.txt`. After a change of wording:
//! `TIDEGATE_BLESS=1 cargo test -p tests --test config_errors`, then read the difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use policies::rng::Rng;
use policies::route::Action;
use tests::door::TestFolder;
use tidegate::command::check;
use tidegate::config::{self, Severity, codes};

const DIR: &str = "fixtures/config";

/// Reports name files as they were named: relative to this package, wherever it is.
fn fixtures() -> Vec<PathBuf> {
    assert!(Path::new(DIR).is_dir(), "tests run in the folder of their package");
    let mut files: Vec<PathBuf> = fs::read_dir(DIR)
        .expect("fixtures can be listed")
        .map(|entry| entry.expect("fixtures can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_broken_file_gets_exactly_the_report_it_had() {
    let is_blessing = std::env::var_os("TIDEGATE_BLESS").is_some();
    let mut differing = Vec::new();
    for file in fixtures() {
        let report = check::report(&config::load(&file));
        let expected = file.with_extension("txt");
        if is_blessing {
            fs::write(&expected, &report).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != report {
            differing.push(format!("--- {}\n{report}", file.display()));
        }
    }
    assert!(differing.is_empty(), "reports differ:\n{}", differing.join("\n"));
}

#[test]
fn every_report_belongs_to_a_file() {
    for entry in fs::read_dir(DIR).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            assert!(path.with_extension("toml").exists(), "{} is left over", path.display());
        }
    }
}

#[test]
fn at_least_forty_files_are_broken_and_each_has_a_place_for_each_error() {
    let mut broken = 0;
    for file in fixtures() {
        let loaded = config::load(&file);
        assert_eq!(loaded.config.is_none(), loaded.has(Severity::Error), "{}", file.display());
        broken += usize::from(loaded.config.is_none());
        for problem in &loaded.problems {
            let is_whole_file = ["TG0101", "TG0102", "TG0106"].contains(&problem.code.id);
            assert!(problem.line > 0 || is_whole_file, "{problem:?}");
        }
    }
    assert!(broken >= 40, "{broken}");
}

#[test]
fn every_code_is_shown_by_a_fixture() {
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for file in fixtures() {
        shown.extend(config::load(&file).problems.iter().map(|problem| problem.code.id));
    }
    // Files that are not there or too large cannot be fixtures; the next tests have them.
    let elsewhere = ["TG0101", "TG0106"];
    let missing: Vec<&str> = codes::ALL
        .iter()
        .map(|code| code.id)
        .filter(|id| !shown.contains(id) && !elsewhere.contains(id))
        .collect();
    assert!(missing.is_empty(), "no fixture shows {missing:?}");
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let loaded = config::load(Path::new("fixtures/config/no-such-file.toml"));
    assert!(loaded.config.is_none());
    let expected = "cannot read `fixtures/config/no-such-file.toml`: there is no such file";
    assert_eq!(loaded.problems[0].message, expected);
    let loaded = config::load(Path::new(DIR));
    assert_eq!(loaded.problems[0].message, "cannot read `fixtures/config`: it is a directory");
}

#[test]
fn a_file_that_is_no_configuration_by_its_size_is_refused() {
    let path = std::env::temp_dir().join(format!("tidegate-large-{}.toml", std::process::id()));
    fs::write(&path, "# comment\n".repeat(500_000)).unwrap();
    let loaded = config::load(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(loaded.problems[0].code.id, "TG0106");
}

#[test]
fn the_two_files_of_the_finished_product_have_warnings_only() {
    for name in ["kg-sports", "more-config"] {
        let loaded = config::load(&Path::new(DIR).join(name).with_extension("toml"));
        assert!(loaded.config.is_some(), "{name}");
        assert!(loaded.has(Severity::Warning), "{name}");
    }
}

#[test]
fn a_secret_in_the_file_is_shown_nowhere() {
    let files =
        fixtures().into_iter().filter_map(|path| path.file_name()?.to_str().map(Into::into));
    let files: Vec<String> = files.filter(|name: &String| name.starts_with("secret_")).collect();
    assert!(files.len() > 5, "{files:?}");
    for name in files {
        let loaded = config::load(&Path::new(DIR).join(name));
        let text = config::render_text(&loaded.problems);
        let json = config::render_json(&loaded.problems).to_string();
        // What cannot run is not shown as effective.
        let dump = loaded.config.is_some().then(|| loaded.effective(true));
        for out in [text, json, dump.unwrap_or_default(), format!("{loaded:?}")] {
            assert!(!out.contains("horse"), "{out}");
        }
    }
}

/// Each with something wrong on the line of a secret, or right before it.
const LINES: [&str; 20] = [
    "tokne = \"SECRET\"",
    "password = \"SECRET\"",
    "tokne = 'SECRET",
    "tokne = SECRET",
    "passwd: SECRET",
    "\"api-key\": \"SECRET\",",
    "secret SECRET",
    "timeouts = { total = 5s, tokne = \"SECRET\" }",
    "timeouts = { total = \"5\", tokne = \"SECRET\" }",
    "sticky = { cookie = \"a b\", key = \"SECRET\" }",
    "sticky = { key = \"SECRET\", cookie = \"a b\" }",
    "sticky = { cookie = \"tg\", key = [\"SECRET\", 1] }",
    "sticky = { cookie = \"tg\", key = { fiel = \"SECRET\" } }",
    "headers = { request = { set = { authorization = \"Bearer SECRET\u{e9}\" } } }",
    "headers = { request = { set = { x-a = \"https://u:SECRET@h/\u{e9}\" } } }",
    "redirect = { to = \"ftp://u:SECRET@h/\" }",
    "bnid = 1 # the token is SECRET",
    "bnid = [\"x\", [\"SECRET\"], { a = \"SECRET\" }]",
    "x = { a = \"\"\"\nSECRET\n\"\"\" }",
    "key = \"\"\"\nSECRET\ntokne = \"SECRET\"",
];

#[test]
fn neither_a_secret_nor_its_length_is_told_wherever_it_stands() {
    let report = |line: &str, secret: &str| {
        let line = line.replace("SECRET", secret);
        let text = format!(
            "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:1\"\n[pools.app]\nbackends = \
             [{{ address = \"10.0.0.1:1\" }}]\n[[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n\
             {line}\nretreis = 1\n"
        );
        let loaded = config::parse("secret.toml", &text);
        assert!(loaded.has(Severity::Error), "{line}");
        let json = config::render_json(&loaded.problems);
        format!("{}{json:#}\n{:?}", check::report(&loaded), loaded)
    };
    for line in LINES {
        let short = report(line, "hunter2horsebattery");
        assert!(!short.contains("hunter") && !short.contains("horse"), "{line}: {short}");
        assert_eq!(short, report(line, &"hunter2horsebattery".repeat(3)), "{line}");
    }
}

#[test]
fn an_included_file_that_was_not_taken_in_keeps_its_secrets() {
    let folder = TestFolder::new("secrets");
    let main = "schema = 1\ninclude = \"more.toml\"\n[listeners.web]\nbind = \"127.0.0.1:1\"\n";
    let main = folder.write("main.toml", main);
    for line in ["admin = { tokne = \"horse\" }", "pools = { a = { tokne = \"horse\" } }\n[pools"] {
        folder.write("more.toml", line);
        let report = check::report(&config::load(&main));
        assert!(report.contains("more.toml") && !report.contains("horse"), "{report}");
    }
}

#[test]
fn included_files_follow_the_main_one_in_the_order_of_their_names() {
    let loaded = config::load(&Path::new(DIR).join("good_includes.toml"));
    let door = loaded.config.unwrap().door;
    let names: Vec<&str> = door.routes.iter().map(|config| &*config.route.name).collect();
    assert_eq!(names, ["first", "second", "third"]);
    let key = &door.routes[0].sticky.as_ref().unwrap().key;
    assert_eq!(&key[..], b"0123456789abcdef0123456789abcdef");
    let Action::Respond { body, .. } = &door.routes[1].route.action else { panic!("no body") };
    assert_eq!(&body[..], b"<p>hello\n");
}

#[test]
fn a_section_of_two_types_is_wrong_where_it_is_of_the_wrong_one() {
    let folder = TestFolder::new("types");
    let (list, table) = ("[[routes]]\nrespond = {}\n", "[routes]\nrespond = {}\n");
    for (main, more, wrong) in [(list, table, "more.toml:1:1"), (table, list, "main.toml:5:1")] {
        let head = "schema = 1\ninclude = \"more.toml\"\n[listeners.web]\nbind = \"127.0.0.1:1\"\n";
        folder.write("more.toml", more);
        let report =
            check::report(&config::load(&folder.write("main.toml", &format!("{head}{main}"))));
        assert!(report.contains(wrong) && report.contains("write `[[routes]]`"), "{report}");
    }
}

#[test]
fn a_pipe_is_not_included_and_not_waited_for() {
    let folder = TestFolder::new("pipe");
    let main = folder.write("main.toml", "schema = 1\ninclude = [\"more.toml\"]\n");
    let made = Command::new("mkfifo").arg(folder.path.join("more.toml")).status().unwrap();
    assert!(made.success());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(config::render_text(&config::load(&main).problems)));
    let report = told.recv_timeout(Duration::from_secs(20)).expect("nobody writes into the pipe");
    assert!(report.contains("`more.toml` matches no file"), "{report}");
}

#[test]
fn a_file_of_one_enormous_line_is_answered_in_time() {
    let keys: Vec<String> = (0..100_000).map(|n| format!("wrong{n} = {n}")).collect();
    let text = format!("schema = 1\nsite = {{ {} }}\n", keys.join(", "));
    let start = Instant::now();
    let loaded = config::parse("long.toml", &text);
    let report = check::report(&loaded);
    // A tenth of it is enough; it was minutes when each problem took the line apart.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(report.len() < 200_000, "{}", report.len());
    // The last one is that there are no listeners.
    assert!(report.contains("200 of 100001 problems shown"), "{}", report.lines().last().unwrap());
}

#[test]
fn what_is_shown_as_effective_is_a_file_that_means_the_same() {
    // Random by default, and different in every run.
    let plain = |loaded: &config::Loaded| {
        let mut door = loaded.config.as_ref().unwrap().door.clone();
        door.seed = 0;
        for sticky in door.routes.iter_mut().filter_map(|route| route.sticky.as_mut()) {
            sticky.key = Vec::new().into();
        }
        format!("{door:#?}")
    };
    for name in ["kg-sports", "more-config", "good_minimal", "warn_timeouts", "warn_not_supported"]
    {
        let loaded = config::load(&Path::new(DIR).join(name).with_extension("toml"));
        for with_defaults in [false, true] {
            let again = config::parse("again.toml", &loaded.effective(with_defaults));
            assert!(again.config.is_some(), "{}", check::report(&again));
            assert_eq!(plain(&loaded), plain(&again), "{name}");
        }
    }
}

#[test]
fn the_reference_page_is_the_table_of_keys() {
    let page = "../docs/configuration.md";
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(page, config::reference()).unwrap();
    }
    let is_same = fs::read_to_string(page).is_ok_and(|text| text == config::reference());
    assert!(is_same, "write it again: cargo run -- schema --docs > docs/configuration.md");
}

/// Nothing is asserted but that it returns, and that an error is said for every refusal.
fn survive(text: &str) {
    let loaded = config::parse("mutant.toml", text);
    assert_eq!(loaded.config.is_none(), loaded.has(Severity::Error));
    let _ = config::render_text(&loaded.problems);
    let _ = loaded.effective(true);
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound.max(1) as u64)).expect("a small number")
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = Rng::new(1);
    for _ in 0..2000 {
        let length = below(&mut rng, 200);
        let bytes: Vec<u8> = (0..length).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        survive(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_change_to_a_good_file_makes_it_panic() {
    const SNIPPETS: [&str; 14] = [
        "\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        "\n",
        "'",
        "\u{0}",
        "축구",
        "99999999999999999999",
        "\"\"",
        "[[",
        "{ pool = 1 }",
    ];
    let texts: Vec<String> =
        fixtures().iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let mut rng = Rng::new(2);
    for _ in 0..1500 {
        let mut chars: Vec<char> = texts[below(&mut rng, texts.len())].chars().collect();
        for _ in 0..=below(&mut rng, 4) {
            let at = below(&mut rng, chars.len());
            match rng.below(4) {
                0 => drop(chars.drain(at..(at + below(&mut rng, 20)).min(chars.len()))),
                1 => drop(chars.splice(at..at, SNIPPETS[below(&mut rng, SNIPPETS.len())].chars())),
                2 => {
                    let end = (at + below(&mut rng, 60)).min(chars.len());
                    let piece: Vec<char> = chars[at..end].to_vec();
                    let to = below(&mut rng, chars.len());
                    drop(chars.splice(to..to, piece));
                }
                _ => chars.truncate(at.max(10)),
            }
        }
        survive(&chars.into_iter().collect::<String>());
    }
}
