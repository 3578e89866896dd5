//! Rules over the `Cargo.toml` files: arrows between crates, libraries, versions.

use toml::{Table, Value};

use super::{File, Problem, Tree};

/// Who may depend on whom. A new arrow needs a decision record.
const ARROWS: [(&str, &[&str]); 7] = [
    ("policies", &[]),
    ("health", &["policies"]),
    ("balancer", &["policies", "health"]),
    ("scaler", &["policies"]),
    ("infra", &["policies", "scaler"]),
    ("tidegate", &["policies", "health", "balancer", "scaler", "infra"]),
    ("tests", &["policies", "health", "balancer", "scaler", "infra", "tidegate"]),
];

/// Libraries that only some crates may use directly. A name that ends with `*` is a prefix.
const CONFINED: [(&str, &[&str]); 6] = [
    ("aws-*", &["infra"]),
    ("hickory-*", &["infra"]),
    ("hyper*", &["balancer", "health", "infra", "tidegate", "tests"]),
    ("clap*", &["tidegate"]),
    ("toml*", &["tidegate", "tests"]),
    ("tokio*", &["health", "balancer", "scaler", "infra", "tidegate", "tests"]),
];

/// All that `policies` may use; pure libraries (docs/decisions/0007).
const PURE: [&str; 6] = ["croner", "ipnet", "jiff", "memchr", "regex", "thiserror"];

/// The crates depend on each other only as the table says.
pub fn arrows(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in members(tree) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == manifest.name) else {
            problems.push(format!(
                "{}: crate `{}` is not in the dependency table; add a decision record and a row",
                manifest.path, manifest.name
            ));
            continue;
        };
        for dependency in &manifest.dependencies {
            let is_ours = ARROWS.iter().any(|(name, _)| *name == dependency.name);
            if is_ours && !allowed.contains(&dependency.name.as_str()) {
                problems.push(format!(
                    "{}: `{}` must not use `{}`; see docs/decisions/0001",
                    manifest.path, manifest.name, dependency.name
                ));
            }
        }
    }
    problems
}

/// Each library is used directly only by the crates that may.
pub fn confined(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in members(tree) {
        for dependency in &manifest.dependencies {
            let rule = CONFINED.iter().find(|(name, _)| matches(name, &dependency.name));
            let is_allowed =
                rule.is_none_or(|(_, crates)| crates.contains(&manifest.name.as_str()));
            let is_pure = manifest.name != "policies"
                || dependency.is_dev
                || PURE.contains(&dependency.name.as_str());
            if !is_allowed || !is_pure {
                problems.push(format!(
                    "{}: `{}` must not use `{}`; ask a crate that may, or write a decision record",
                    manifest.path, manifest.name, dependency.name
                ));
            }
        }
    }
    problems
}

/// Versions and what all crates share are written in the root, and everything there is used.
pub fn versions(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = Vec::new();
    for manifest in members(tree) {
        for dependency in manifest.dependencies {
            if !dependency.is_inherited {
                problems.push(format!(
                    "{}: `{}` has a version of its own; write it in the root and `workspace = true` here",
                    manifest.path, dependency.name
                ));
            }
            used.push(dependency.name);
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(manifest.table.get("package").and_then(|package| package.get(key))) {
                problems.push(format!("{}: write `{key}.workspace = true`", manifest.path));
            }
        }
        if !inherits(manifest.table.get("lints")) {
            problems.push(format!("{}: write `[lints] workspace = true`", manifest.path));
        }
    }
    let root = tree.file("Cargo.toml").map(parse).unwrap_or_default();
    let chosen = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for name in chosen.and_then(Value::as_table).into_iter().flat_map(Table::keys) {
        if !used.contains(name) {
            problems.push(format!("Cargo.toml: nobody uses `{name}`; remove it"));
        }
    }
    problems
}

/// Every test file is listed in the manifest; cargo does not look for them.
pub fn test_files(tree: &Tree) -> Vec<Problem> {
    const MANIFEST: &str = "tests/Cargo.toml";
    let table = tree.file(MANIFEST).map(parse).unwrap_or_default();
    let listed = table.get("test").and_then(Value::as_array).into_iter().flatten();
    let listed: Vec<&str> = listed.filter_map(|test| test.get("path")?.as_str()).collect();
    let files = tree.rust().filter_map(|file| file.path.strip_prefix("tests/"));
    let missing = files.filter(|file| !file.contains('/') && !listed.contains(file));
    missing
        .map(|file| format!("{MANIFEST}: no `[[test]]` with the path `{file}`; add it"))
        .collect()
}

struct Manifest {
    path: String,
    name: String,
    dependencies: Vec<Dependency>,
    table: Table,
}

struct Dependency {
    name: String,
    is_dev: bool,
    is_inherited: bool,
}

/// The members of the workspace, as the root lists them.
fn members(tree: &Tree) -> Vec<Manifest> {
    let root = tree.file("Cargo.toml").map(parse).unwrap_or_default();
    let listed = root.get("workspace").and_then(|workspace| workspace.get("members"));
    let listed = listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    listed.filter_map(|name| tree.file(&format!("{name}/Cargo.toml"))).map(manifest).collect()
}

fn manifest(file: &File) -> Manifest {
    let table = parse(file);
    let name = table.get("package").and_then(|package| package.get("name"));
    let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut dependencies = Vec::new();
    let targets = table.get("target").and_then(Value::as_table);
    let tables = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    for table in tables.chain([&table]) {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let listed = table.get(section).and_then(Value::as_table).into_iter().flatten();
            dependencies.extend(listed.map(|(name, value)| Dependency {
                name: name.clone(),
                is_dev: section == "dev-dependencies",
                is_inherited: inherits(Some(value)),
            }));
        }
    }
    Manifest { path: file.path.clone(), name, dependencies, table }
}

fn inherits(value: Option<&Value>) -> bool {
    let inherited = value.and_then(|value| value.get("workspace"));
    inherited.and_then(Value::as_bool).unwrap_or(false)
}

fn parse(file: &File) -> Table {
    file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path))
}

fn matches(rule: &str, name: &str) -> bool {
    rule.strip_suffix('*').map_or(rule == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nbytes = \"1\"\n";

    fn tree(name: &str, dependencies: &str) -> Tree {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion.workspace = true\nedition.workspace = true\n\
             rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
             [lints]\nworkspace = true\n{dependencies}"
        );
        Tree::of(&[("Cargo.toml", ROOT), ("a/Cargo.toml", &manifest)])
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found_in_every_section() {
        expect(&arrows(&tree("balancer", "[dependencies]\nhealth.workspace = true\n")), &[]);
        let scaler = "scaler.workspace = true\n";
        for section in ["dependencies", "dev-dependencies", "target.x.dependencies"] {
            let broken = tree("balancer", &format!("[{section}]\n{scaler}"));
            expect(&arrows(&broken), &["`balancer` must not use `scaler`"]);
        }
        expect(&arrows(&tree("common", "")), &["`common` is not in the dependency table"]);
    }

    #[test]
    fn a_library_in_the_wrong_crate_is_found() {
        let found = |name, library| {
            let section = format!("[dependencies]\n{library}.workspace = true\n");
            confined(&tree(name, &section)).len()
        };
        assert_eq!(found("scaler", "aws-sdk-ec2"), 1);
        assert_eq!(found("scaler", "hyper-util"), 1);
        assert_eq!(found("balancer", "toml"), 1);
        assert_eq!(found("balancer", "hickory-resolver"), 1);
        assert_eq!(found("tests", "clap"), 1);
        assert_eq!(found("infra", "aws-sdk-ec2"), 0);
        assert_eq!(found("tidegate", "hyper"), 0);
    }

    #[test]
    fn policies_may_use_pure_libraries_and_anything_in_its_tests() {
        let section = |name| format!("[{name}]\nproptest.workspace = true\n");
        expect(
            &confined(&tree("policies", &section("dependencies"))),
            &["`policies` must not use"],
        );
        expect(&confined(&tree("policies", &section("dev-dependencies"))), &[]);
        let tokio = "[dev-dependencies]\ntokio.workspace = true\n";
        expect(&confined(&tree("policies", tokio)), &["`policies` must not use `tokio`"]);
    }

    #[test]
    fn a_version_outside_the_root_and_one_that_nobody_uses_are_found() {
        expect(&versions(&tree("health", "[dependencies]\nbytes.workspace = true\n")), &[]);
        let own = tree("health", "[dependencies]\nbytes = { version = \"1\" }\n");
        expect(&versions(&own), &["`bytes` has a version of its own"]);
        expect(&versions(&tree("health", "")), &["nobody uses `bytes`"]);
        let bare = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
            ("a/Cargo.toml", "[package]\nname = \"health\"\nversion = \"1.0.0\"\n"),
        ]);
        assert_eq!(versions(&bare).len(), 6);
    }

    #[test]
    fn a_test_file_that_never_runs_is_found() {
        let tree = Tree::of(&[
            ("tests/Cargo.toml", "[[test]]\nname = \"a\"\npath = \"a.rs\"\n"),
            ("tests/a.rs", ""),
            ("tests/b.rs", ""),
            ("tests/src/c.rs", ""),
        ]);
        expect(&test_files(&tree), &["path `b.rs`"]);
    }
}
