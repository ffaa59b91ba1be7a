//! Clusters and named services, as a person writes them.
//!
//! Owns the types and the question who belongs where. A configuration without clusters is one cluster of all its nodes.

use super::Config;
use crate::id::{LABEL_BYTES, Label, NodeId};
use crate::limits::NODES_MAX;
use crate::takeover::Policy;
use heapless::{String, Vec};
use serde::Deserialize;

/// A name that fits into a frame: of a cluster or a service.
pub type ShortName = String<LABEL_BYTES>;

/// A set of nodes that share volumes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// What `mkfs.ocfs2 --cluster-name` was given.
    pub name: ShortName,
    /// Its nodes.
    pub nodes: Vec<u8, NODES_MAX>,
}

/// Something that runs on one node of a cluster at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What its owner is told that it got.
    pub name: ShortName,
    /// The cluster to which it belongs; may be left out where there is only one.
    #[serde(default)]
    pub cluster: ShortName,
    /// The nodes that can own it, most wanted first; none: every node of the cluster, by number.
    #[serde(default)]
    pub nodes: Vec<u8, NODES_MAX>,
    /// How its owner is chosen.
    #[serde(default)]
    pub policy: Policy,
}

impl Config {
    /// The cluster of this name in which this node is. No name: the only one in which it is.
    #[must_use]
    pub fn cluster_of(&self, node: NodeId, name: Label) -> Option<Label> {
        self.node(node)?;
        if self.clusters.is_empty() {
            let whole = Label::named(&self.name);
            return (!name.is_some() || name == whole).then_some(whole);
        }
        let with_node = self.clusters.iter().filter(|cluster| cluster.nodes.contains(&node.get()));
        let mut labels = with_node.map(|cluster| Label::named(&cluster.name));
        if name.is_some() {
            return labels.find(|label| *label == name);
        }
        let only = labels.next()?;
        labels.next().is_none().then_some(only)
    }

    /// Whether two nodes are in a cluster together: only such nodes say anything to each other.
    #[must_use]
    pub fn share_cluster(&self, one: NodeId, other: NodeId) -> bool {
        let holds = |cluster: &Cluster| [one, other].iter().all(|node| cluster.nodes.contains(&node.get()));
        self.clusters.is_empty() || self.clusters.iter().any(holds)
    }

    /// The nodes that can own a service, most wanted first.
    pub fn owners<'c>(&'c self, service: &'c Service) -> impl Iterator<Item = NodeId> + 'c {
        let named = service.cluster.is_empty();
        let cluster = self.clusters.iter().find(|cluster| named || cluster.name == service.cluster);
        let all = service.nodes.is_empty();
        let of_cluster = cluster.filter(|_| all).into_iter().flat_map(|cluster| cluster.nodes.iter().copied());
        let of_whole = self.nodes.iter().filter(move |_| all && cluster.is_none()).map(|node| node.id);
        service.nodes.iter().copied().chain(of_cluster).chain(of_whole).map(NodeId::new)
    }
}
