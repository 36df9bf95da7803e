//! The reference pages in `docs/ref` against the program: nothing undocumented, nothing documented that is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use moongate::config::{Config, Environment};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let path = root().join("docs/ref").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text under a `## heading` up to the next one of that level.
fn chapter<'t>(page: &'t str, heading: &str) -> &'t str {
    let start = page.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rest = &page[start + 4..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

/// The first cells of a chapter's tables that are code: `| `key` | ...`.
fn documented(chapter: &str) -> BTreeSet<String> {
    chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(ToOwned::to_owned)
        .collect()
}

/// The keys that the program knows, by the list it gives for one that is like none of them.
fn known_keys(text: &str, table: &str) -> BTreeSet<String> {
    let error =
        Config::parse(text, &Environment::of(&[])).expect_err("an unknown key is a mistake").to_string();
    let start = format!("unknown key \"qqqqqqqqqqqq\" in {table}; known keys are ");
    let line = error
        .lines()
        .find_map(|line| line.split_once(&start))
        .unwrap_or_else(|| panic!("{table}: {error}"))
        .1;
    line.trim_end_matches('.').split(", ").map(ToOwned::to_owned).collect()
}

#[test]
fn every_configuration_key_is_documented_and_no_other() {
    let page = page("config.md");
    for table in ["[gateway]", "[access]", "[rtsp]", "[[printer]]"] {
        let known = known_keys(&format!("{table}\nqqqqqqqqqqqq = 1\n"), table);
        assert!(known.len() > 3 || table == "[rtsp]", "{known:?}");
        assert_eq!(documented(chapter(&page, table)), known, "docs/ref/config.md, {table}");
    }
}

/// What only few need: other ports than the vendor's, and a model that its printer does not tell.
fn is_rare(table: &str, key: &str) -> bool {
    table == "[[printer]]" && (key == "model" || (key.ends_with("_port") && key != "moonraker_port"))
}

#[test]
fn every_configuration_key_is_in_the_example() {
    let example = fs::read_to_string(root().join("docs/config.example.toml")).expect("the example");
    for table in ["[gateway]", "[access]", "[rtsp]", "[[printer]]"] {
        for key in known_keys(&format!("{table}\nqqqqqqqqqqqq = 1\n"), table) {
            // The other forms of a secret are named beside the one that is shown.
            let form = ["access_code_", "api_key_"].iter().any(|of| key.starts_with(of));
            let shown = example.contains(&format!("{key} = "))
                || (form && example.contains(&key))
                || is_rare(table, &key);
            assert!(shown, "docs/config.example.toml lacks {key} of {table}");
        }
    }
}

/// Names between single quotes of code on the page that look as `wanted`.
fn quoted(page: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    page.split('`').skip(1).step_by(2).filter(|name| wanted(name)).map(ToOwned::to_owned).collect()
}

#[test]
fn what_the_page_on_adding_things_names_is_there() {
    let page = fs::read_to_string(root().join("docs/extending.md")).expect("the page");
    let roots = ["src/", "tests/", "docs/", "fixtures/", "compat/"];
    let paths = quoted(&page, |name| roots.iter().any(|root| name.starts_with(root)));
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        assert!(root().join(&path).exists(), "docs/extending.md names {path}, which is not there");
    }
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let word = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let tests = quoted(&page, |name| name.matches('_').count() > 2 && word(name));
    assert!(tests.len() > 8, "{tests:?}");
    for name in tests {
        assert!(
            text.contains(&format!("fn {name}(")),
            "docs/extending.md names the test {name}, which is not there"
        );
    }
}

#[test]
fn every_flag_of_a_method_is_on_the_page_on_adding_things() {
    let page = fs::read_to_string(root().join("docs/extending.md")).expect("the page");
    let table = fs::read_to_string(root().join("src/front/moonraker/methods/mod.rs")).expect("the table");
    let flags: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("const ")?.split_once(": u8 = "))
        .map(|(name, _)| name)
        .collect();
    assert!(flags.len() > 5, "{flags:?}");
    for flag in flags {
        assert!(page.contains(&format!("\n| `{flag}` | ")), "docs/extending.md does not explain {flag}");
    }
}

/// A model that the suite does not name is passed by there without a word.
#[test]
fn every_simulated_bambu_printer_is_in_its_suite() {
    for file in ["compat/bambu/expected.py", "compat/bambu/test_jobs.py"] {
        let suite = fs::read_to_string(root().join(file)).expect("the suite");
        for model in moongate::sim::bambu::models::TABLE {
            // The first firmware of the X1C tells less; what it is sent is the same.
            let named = suite.contains(&format!("\"{}\"", model.key)) || model.key == "x1c-early";
            assert!(named, "{file} lacks {}", model.key);
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Codes of a file whose helper `fault` puts a family before its first argument.
fn made_up(product: &str, family: &str) -> Vec<String> {
    let calls = product.split(".fault(").skip(1).filter_map(|call| call.trim_start().strip_prefix('"'));
    let names: Vec<String> =
        calls.filter_map(|call| call.split('"').next()).map(|name| format!("MG-{family}{name}")).collect();
    assert!(!names.is_empty(), "no code of the family MG-{family} was found");
    names
}

/// Codes in string literals of the product's sources; tests may make up their own.
fn fault_codes() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut codes = BTreeSet::new();
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("test")) {
        let text = fs::read_to_string(file).expect("a source");
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        for literal in product.split("\"MG-").skip(1) {
            let end = literal.find('"').expect("a closed literal");
            match literal[..end].split_once("{code}") {
                Some((family, _)) => codes.extend(made_up(product, family)),
                None => drop(codes.insert(format!("MG-{}", &literal[..end]))),
            }
        }
    }
    codes
}

#[test]
fn every_fault_code_has_its_heading() {
    let page = page("faults.md");
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let codes = fault_codes();
    assert!(codes.contains("MG-BUG"), "{codes:?}");
    let missing: Vec<&String> = codes.iter().filter(|code| !headings.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "docs/ref/faults.md lacks {missing:?}");
    let known = |heading: &&&str| !heading.starts_with("MG-") || codes.contains(**heading);
    let invented: Vec<&&str> = headings.iter().filter(|heading| !known(heading)).collect();
    assert!(invented.is_empty(), "docs/ref/faults.md tells of {invented:?}, which nothing raises");
}

#[test]
fn every_command_is_documented_and_no_other() {
    use clap::CommandFactory;
    let page = page("cli.md");
    let documented: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("#### ")).collect();
    let mut command = moongate::cli::Cli::command();
    command.build();
    let known: BTreeSet<&str> =
        command.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help").collect();
    assert_eq!(documented, known, "docs/ref/cli.md");
    for verb in command.get_subcommands() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{} has no description", verb.get_name());
        for argument in verb.get_arguments() {
            let told = argument.get_help().is_some() || verb.get_name() == "help";
            assert!(told, "{}: {} has no description", verb.get_name(), argument.get_id());
        }
    }
}

#[test]
fn every_option_named_in_the_command_reference_exists() {
    use clap::CommandFactory;
    let mut command = moongate::cli::Cli::command();
    command.build();
    let known: BTreeSet<String> = command
        .get_subcommands()
        .chain([&command])
        .flat_map(|verb| {
            verb.get_arguments()
                .filter_map(|argument| argument.get_long())
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let page = page("cli.md");
    let named: BTreeSet<&str> = page
        .split("`--")
        .chain(page.split(" --"))
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(named.contains("dry-run"), "{named:?}");
    for name in named {
        assert!(known.contains(name), "docs/ref/cli.md names --{name}, which no command takes");
    }
}
