//! The fault matrix of `docs/ref` against the tests: each row names tests that exist, each test of the suite has a row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, ending: &str, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, ending, text);
        } else if path.extension().is_some_and(|found| found == ending) {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The rows of the table: the cells of each.
fn rows() -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/ref/fault-matrix.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    page.lines().filter(|line| line.starts_with("| ")).skip(1).map(cells).collect()
}

fn tests_of(row: &[String]) -> Vec<String> {
    row[3].split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[test]
fn every_row_names_tests_that_exist() {
    let mut text = String::new();
    collect(&root().join("src"), "rs", &mut text);
    collect(&root().join("compat/trust"), "py", &mut text);
    collect(&root().join("compat/files"), "py", &mut text);
    let rows = rows();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let tests = tests_of(&row);
        assert!(!tests.is_empty(), "{} has no test", row[0]);
        for test in tests {
            let there =
                [format!("fn {test}("), format!("def {test}(")].iter().any(|found| text.contains(found));
            assert!(there, "{}: {test} does not exist", row[0]);
        }
    }
}

#[test]
fn every_test_of_a_fault_has_a_row() {
    let named: BTreeSet<String> = rows().iter().flat_map(|row| tests_of(row)).collect();
    for file in [
        "trust/test_fault_matrix.py",
        "trust/test_disk.py",
        "trust/test_lifecycle.py",
        "trust/test_load.py",
        "files/test_kill.py",
    ] {
        let text = fs::read_to_string(root().join("compat").join(file)).unwrap();
        let tests = text.lines().filter_map(|line| line.strip_prefix("def ")?.split('(').next());
        for test in tests.filter(|name| name.starts_with("test_")) {
            assert!(named.contains(test), "{file}: {test} is in no row of docs/ref/fault-matrix.md");
        }
    }
}
