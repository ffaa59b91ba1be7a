//! Rules about clusters and named services.
//!
//! Owns nothing else. A volume belongs to one cluster, so a node may be in several; who may own a service follows from its
//! cluster.

use super::{Checked, require};
use crate::config::{Cluster, Config, Service};

pub(super) fn clusters(config: &Config) -> Checked {
    for (index, Cluster { name, nodes }) in config.clusters.iter().enumerate() {
        require!(!name.is_empty(), ("clusters[{index}].name"), "empty", "a cluster of nodes needs a name", "write one");
        require!(
            config.clusters.iter().take(index).all(|other| other.name != *name),
            ("clusters[{index}].name"),
            name,
            "another cluster has this name",
            "give each cluster its own",
        );
        require!(
            !nodes.is_empty(),
            ("clusters[{index}].nodes"),
            "empty",
            "a cluster without nodes shares nothing",
            "name its nodes, or remove it",
        );
        for (place, id) in nodes.iter().enumerate() {
            require!(
                config.nodes.iter().any(|node| node.id == *id),
                ("clusters[{index}].nodes[{place}]"),
                id,
                "no node has this number",
                "name a node of the list `nodes`",
            );
            require!(
                nodes.iter().take(place).all(|other| other != id),
                ("clusters[{index}].nodes[{place}]"),
                id,
                "the node is listed twice in this cluster",
                "list it once",
            );
        }
    }
    Ok(())
}

pub(super) fn services(config: &Config) -> Checked {
    for (index, service) in config.services.iter().enumerate() {
        let Service { name, cluster, nodes, .. } = service;
        require!(!name.is_empty(), ("services[{index}].name"), "empty", "a service needs a name", "write one");
        require!(
            config.services.iter().take(index).all(|other| other.name != *name),
            ("services[{index}].name"),
            name,
            "another service has this name",
            "give each service its own",
        );
        let home = config.clusters.iter().find(|other| other.name == *cluster);
        require!(
            home.is_some() || cluster.is_empty(),
            ("services[{index}].cluster"),
            cluster,
            "no cluster has this name",
            "name one of the list `clusters`",
        );
        require!(
            home.is_some() || config.clusters.len() <= 1,
            ("services[{index}].cluster"),
            "empty",
            "there are several clusters, and the service belongs to one of them",
            "say to which",
        );
        let members = home.or(config.clusters.first()).map(|cluster| &cluster.nodes);
        for (place, id) in nodes.iter().enumerate() {
            require!(
                members.map_or_else(|| config.nodes.iter().any(|node| node.id == *id), |nodes| nodes.contains(id)),
                ("services[{index}].nodes[{place}]"),
                id,
                "no node of the service's cluster has this number",
                "name a node of that cluster",
            );
            require!(
                nodes.iter().take(place).all(|other| other != id),
                ("services[{index}].nodes[{place}]"),
                id,
                "the node is listed twice for this service",
                "list it once, where it is wanted most",
            );
        }
    }
    Ok(())
}
