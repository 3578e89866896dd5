//! What a configuration takes from outside of itself: secrets, fixed bodies, dice.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Build;
use crate::config::document::{Node, Span, Table, Value};
use crate::config::keys::Kind;
use crate::config::text::{Message, references, values as say};
use crate::config::view::View;

/// A fixed body is held in memory and sent as is.
const LARGEST_BODY: u64 = 1 << 20;
/// A secret is a key or a password, not a file of data.
const LARGEST_SECRET: u64 = 64 << 10;
/// Variables that an instance is told itself by.
const OWN_VARIABLES: &str = "TIDEGATE_";

/// HMAC-SHA-256 with fewer bytes can be guessed (RFC 2104 §3 wants the length of the hash).
const SHORTEST_KEY: usize = 16;

/// The content of a file that a route answers with; empty and said why if it cannot be read.
pub(super) fn body(build: &mut Build<'_>, node: &Node) -> Arc<[u8]> {
    let Some(name) = node.text() else { return Arc::from([]) };
    let Some(path) = resolve(build, node.span, name) else { return Arc::from([]) };
    match read(&path, LARGEST_BODY) {
        Ok(bytes) => bytes.into(),
        Err(why) => {
            build.say(node.span, references::body_unreadable(&path.display().to_string(), &why));
            Arc::from([])
        }
    }
}

/// The key that a secret stands for. Random where none is written, and where the configuration
/// did not come from a disk.
pub(super) fn key(build: &mut Build<'_>, node: Option<&Node>, path: &str) -> Arc<[u8]> {
    let secret = node.and_then(|node| secret(build, node, path).map(|bytes| (node, bytes)));
    let Some((node, bytes)) = secret else { return random_key() };
    if bytes.len() < SHORTEST_KEY {
        build.say(node.span, say::secret_weak(path, SHORTEST_KEY));
    }
    bytes.into()
}

fn secret(build: &mut Build<'_>, node: &Node, path: &str) -> Option<Vec<u8>> {
    let table = match &node.value {
        Value::Text(inline) => return Some(inline.clone().into_bytes()),
        Value::Table(table) if table.entries.len() == 1 => table,
        _ => return None,
    };
    let name = |key: &str| table.get(key).and_then(Node::text);
    let bytes = if let Some(file) = name("file") {
        let path = resolve(build, node.span, file)?;
        read(&path, LARGEST_SECRET).map_err(|why| format!("`{}`: {why}", path.display()))
    } else if let Some(variable) = name("env") {
        resolve(build, node.span, "")?;
        from_environment(variable)
    } else {
        let credential = name("credential")?;
        resolve(build, node.span, "")?;
        from_credentials(credential)
    };
    match bytes {
        Ok(bytes) => Some(without_newline(bytes)),
        Err(why) => {
            let message: Message = say::secret_unreadable(path, &why);
            build.say(node.span, message);
            None
        }
    }
}

fn from_environment(name: &str) -> Result<Vec<u8>, String> {
    // `var_os` panics on names that cannot be.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("not the name of a variable".to_owned());
    }
    match std::env::var(name) {
        Ok(value) => Ok(value.into_bytes()),
        Err(_) => Err(format!("the variable `{name}` is not set")),
    }
}

/// systemd's `LoadCredential=`: a file of that name in a directory only we may read.
fn from_credentials(name: &str) -> Result<Vec<u8>, String> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Err("there are no credentials; add `LoadCredential=` to the unit".to_owned());
    };
    if name.contains('/') || name == ".." {
        return Err(format!("`{name}` is not the name of a credential"));
    }
    read(&PathBuf::from(dir).join(name), LARGEST_SECRET)
}

/// A program that is run: one with a slash is a path relative to the file it stands in, the others
/// are looked for in `PATH` when they are started.
pub(super) fn program(build: &Build<'_>, span: Span, name: &str) -> String {
    let path = resolve(build, span, name).filter(|_| name.contains('/'));
    path.map_or_else(|| name.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Program and arguments; an empty list was complained about by the walk.
pub(super) fn command(build: &Build<'_>, view: View<'_>) -> Vec<String> {
    let words = view.list("command").iter().filter_map(|node| Some((node.span, node.text()?)));
    let mut command: Vec<String> = Vec::new();
    for (span, word) in words {
        let word = match command.is_empty() {
            true => program(build, span, word),
            false => word.to_owned(),
        };
        command.push(word);
    }
    command
}

/// Variables for a program of the operator.
pub(super) fn env(build: &mut Build<'_>, view: View<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let table = view.own("env").and_then(Node::table);
    for entry in table.map(|table: &Table| table.entries.as_slice()).unwrap_or_default() {
        if entry.key.contains(['=', '\0']) {
            build.say(entry.key_span, references::variable(&entry.key, "it has `=` or NUL in it"));
        } else if entry.key.starts_with(OWN_VARIABLES) {
            build.say(
                entry.key_span,
                references::variable(&entry.key, "Tidegate sets these itself"),
            );
        }
        let value = entry.node.text().unwrap_or_default();
        if value.contains('\0') {
            build.say(entry.node.span, say::malformed(&Kind::Text, value, "it has NUL in it"));
        }
        env.insert(entry.key.clone(), value.to_owned());
    }
    env
}

/// The path relative to the file it stands in; `None` if that file did not come from a disk.
fn resolve(build: &Build<'_>, span: Span, name: &str) -> Option<PathBuf> {
    let source = build.document.sources.0.get(span.file)?;
    source.dir.as_ref().map(|dir| dir.join(name))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| crate::config::include::plain(&error))?;
    // A pipe or device could make us wait for ever.
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let file = File::open(path).map_err(|error| crate::config::include::plain(&error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| crate::config::include::plain(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
        return Err(format!("it is larger than {} KiB", limit >> 10));
    }
    Ok(bytes)
}

/// Editors end a file with a newline that is not part of the secret.
fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    bytes
}

/// 32 bytes from the operating system.
fn random_key() -> Arc<[u8]> {
    let mut key = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key));
    if read.is_err() {
        // No /dev in this jail. `RandomState` is seeded by getrandom(2).
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&random_seed().to_le_bytes());
        }
    }
    Arc::from(key)
}

/// A number that nobody outside can foresee.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}
