//! The configuration of the door, with what is known only at its start.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::folder::Folder;
use super::{Args, text};

/// What differs from one demo to the next.
pub(super) struct Setup {
    values: Vec<(&'static str, String)>,
}

impl Setup {
    pub(super) fn new(args: &Args, folder: &Folder) -> Result<Setup, String> {
        let program = std::env::current_exe().map_err(|error| text::cannot_start(&error))?;
        Ok(Setup::of(args, &program, &folder.state(), &folder.socket(), std::process::id()))
    }

    fn of(args: &Args, program: &Path, state: &Path, socket: &Path, pid: u32) -> Setup {
        let pick = |slow: &'static str, fast: &'static str| if args.fast { fast } else { slow };
        let mode = if args.shadow { "shadow" } else { "act" };
        // Nobody is the child of the first process of all, so that the backend ends at once.
        let parent = if args.broken_launches { 1 } else { pid };
        let values = vec![
            ("@STATE@", quoted(state.display())),
            ("@SOCKET@", quoted(socket.display())),
            ("@COMMAND@", command(program, parent)),
            ("@ADDRESSES@", quoted(addresses(pid))),
            ("@MODE@", quoted(mode)),
            ("@BOOT@", quoted(pick("3s", "500ms"))),
            ("@TICK@", quoted(pick("500ms", "200ms"))),
            ("@WINDOW@", quoted(pick("4s", "1s"))),
            ("@SLOW_START@", quoted(pick("2s", "200ms"))),
            ("@STABLE@", quoted(pick("8s", "2s"))),
            ("@COOLDOWN@", quoted(pick("2s", "0s"))),
            ("@QUEUE@", quoted(pick("10s", "6s"))),
        ];
        Setup { values }
    }

    pub(super) fn configuration(&self, backends: &[(&str, SocketAddr)]) -> String {
        let entry = |(name, address): &(&str, SocketAddr)| {
            format!("    {{ id = \"{name}\", address = \"{address}\" }},\n")
        };
        let entries: String = backends.iter().map(entry).collect();
        let text = include_str!("door.toml").replace("@BACKENDS@", &format!("[\n{entries}]"));
        self.values.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// An instance ends with the one who launched it, however that ends.
fn command(program: &Path, parent: u32) -> String {
    let words = ["backend", "--listen", "{address}", "--name", "{id}", "--parent"];
    let mut command = vec![program.display().to_string()];
    command.extend(words.map(str::to_owned));
    command.push(parent.to_string());
    let words: Vec<String> = command.iter().map(quoted).collect();
    format!("[{}]", words.join(", "))
}

/// Thirty addresses that hardly any other demo on this machine has.
fn addresses(pid: u32) -> String {
    let first = u32::from(Ipv4Addr::new(127, 64, 0, 0));
    format!("{}/27", Ipv4Addr::from(first + pid % (1 << 17) * 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_built_in_configuration_has_no_problem_wherever_it_is() {
        for (folder, pid) in [("/tmp/a", 1), ("/tmp/it's \"quoted\"", u32::MAX)] {
            for args in [(false, false), (true, true)] {
                let args = Args { fast: args.0, shadow: args.1, kill: 1, broken_launches: args.1 };
                let folder = Path::new(folder);
                let (state, socket) = (folder.join("state"), folder.join("admin.sock"));
                let setup = Setup::of(&args, Path::new("/bin/true"), &state, &socket, pid);
                let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
                let text = setup.configuration(&[("amber", address(1)), ("blue", address(2))]);
                let loaded = config::parse("demo.toml", &text);
                assert!(loaded.problems.is_empty(), "{}", config::render_text(&loaded.problems));
                let config = loaded.config.unwrap();
                assert_eq!(config.admin.unix.as_deref(), Some(&*socket));
                assert_eq!(config.site.state_dir, state);
                assert_eq!((config.elastic.len(), config.scalers.len()), (1, 1));
            }
        }
    }

    #[test]
    fn demos_side_by_side_have_addresses_of_their_own() {
        assert_eq!(addresses(1), "127.64.0.32/27");
        assert_eq!(addresses((1 << 17) - 1), "127.127.255.224/27");
        assert_ne!(addresses(4_000_000), addresses(4_000_001));
    }
}
