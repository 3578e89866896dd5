//! `allow` and `deny` of listeners and routes.

use ipnet::IpNet;

use super::Build;
use crate::config::document::Span;
use crate::config::text::references as say;
use crate::config::values::net;
use crate::config::view::View;

/// Longer lists are machine-made and not searched for entries without effect: the search is
/// quadratic.
const SEARCHED: usize = 500;

/// Who may, and who may not.
pub(super) struct Access {
    pub(super) allow: Vec<IpNet>,
    pub(super) deny: Vec<IpNet>,
}

/// Reads both lists and points out entries that another one covers.
pub(super) fn lists(build: &mut Build<'_>, view: View<'_>) -> Access {
    let (allow, deny) = (blocks(view, "allow"), blocks(view, "deny"));
    if allow.len() + deny.len() <= SEARCHED {
        covered_in_itself(build, &allow, "allow");
        covered_in_itself(build, &deny, "deny");
        for (span, block) in &allow {
            if let Some((_, by)) = deny.iter().find(|(_, by)| by.contains(block)) {
                build.say(*span, say::covered(&block.to_string(), &by.to_string(), "deny"));
            }
        }
    }
    let plain = |list: Vec<(Span, IpNet)>| list.into_iter().map(|(_, block)| block).collect();
    Access { allow: plain(allow), deny: plain(deny) }
}

fn blocks(view: View<'_>, name: &str) -> Vec<(Span, IpNet)> {
    let nodes = view.list(name).iter();
    nodes.filter_map(|node| Some((node.span, net::cidr(node.text()?).ok()?))).collect()
}

fn covered_in_itself(build: &mut Build<'_>, list: &[(Span, IpNet)], name: &str) {
    for (index, (span, block)) in list.iter().enumerate() {
        let covers = |(other, (_, by)): &(usize, &(Span, IpNet))| {
            *other != index && by.contains(block) && (by != block || *other < index)
        };
        if let Some((_, (_, by))) = list.iter().enumerate().find(covers) {
            build.say(*span, say::covered(&block.to_string(), &by.to_string(), name));
        }
    }
}
