//! The closure of packages over their dependencies.
//!
//! Of alternatives the first that can be met is taken, one that is selected already before any other; of the providers
//! of a virtual package the one with the highest priority, then the first by name. Packages excluded by the caller count
//! as present: nothing they need is pulled in. Conflicts are not considered: a single release's own packages that are
//! needed together can be installed together. The result does not depend on anything but the index and the request.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use debian_control::lossy::{Relation, Relations};
use debian_control::relations::VersionConstraint;
use debversion::Version;

use super::error::DebianError;
use super::packages::{Index, PackageId};

/// Selects `roots` and what they need, sorted by name.
pub(crate) fn resolve(
    index: &Index,
    release: &str,
    roots: &[&str],
    exclude: &[&str],
) -> Result<Vec<PackageId>, DebianError> {
    let mut resolver = Resolver {
        index,
        release,
        exclude: exclude.iter().copied().collect(),
        selected: BTreeMap::new(),
        provided: HashMap::new(),
        needed_by: HashMap::new(),
        queue: VecDeque::new(),
    };
    for root in roots {
        resolver.select(self::root(index, release, root)?, None)?;
    }
    while let Some(id) = resolver.queue.pop_front() {
        for field in index.dependencies(id) {
            let relations = parse(index, id, field)?;
            for alternatives in &relations.0 {
                resolver.satisfy(id, alternatives)?;
            }
        }
    }
    Ok(resolver.selected.into_values().collect())
}

/// The newest version of the package named `name`.
pub(crate) fn root(index: &Index, release: &str, name: &str) -> Result<PackageId, DebianError> {
    newest(index, index.named(name))
        .ok_or_else(|| DebianError::NoPackage { release: release.to_owned(), name: name.to_owned() })
}

struct Resolver<'a> {
    index: &'a Index,
    release: &'a str,
    exclude: HashSet<&'a str>,
    selected: BTreeMap<&'a str, PackageId>,
    /// What the selected packages provide, with the version if it has one.
    provided: HashMap<String, Vec<Option<Version>>>,
    needed_by: HashMap<PackageId, PackageId>,
    queue: VecDeque<PackageId>,
}

impl Resolver<'_> {
    fn select(&mut self, id: PackageId, needed_by: Option<PackageId>) -> Result<(), DebianError> {
        if self.selected.insert(self.index.name(id), id).is_some() {
            return Ok(());
        }
        if let Some(needed_by) = needed_by {
            self.needed_by.insert(id, needed_by);
        }
        for provided in parse(self.index, id, self.index.provides(id))?.0.into_iter().flatten() {
            let version = provided.version.map(|(_, version)| version);
            self.provided.entry(provided.name).or_default().push(version);
        }
        self.queue.push_back(id);
        Ok(())
    }

    fn satisfy(&mut self, id: PackageId, alternatives: &[Relation]) -> Result<(), DebianError> {
        if alternatives.iter().any(|relation| self.is_met(relation)) {
            return Ok(());
        }
        for relation in alternatives {
            if self.exclude.contains(relation.name.as_str()) {
                return Ok(());
            }
            if let Some(found) = self.candidate(relation)? {
                return self.select(found, Some(id));
            }
        }
        let relation: Vec<String> = alternatives.iter().map(Relation::to_string).collect();
        Err(DebianError::Unsatisfiable {
            release: self.release.to_owned(),
            relation: relation.join(" | "),
            chain: self.chain(id),
        })
    }

    /// Whether what is selected meets `relation`.
    fn is_met(&self, relation: &Relation) -> bool {
        let by_name = self.selected.get(relation.name.as_str()).is_some_and(|id| self.fits(*id, relation));
        let by_provision = self.provided.get(&relation.name).is_some_and(|versions| {
            versions.iter().any(|version| provision_fits(version.as_ref(), relation))
        });
        by_name || by_provision
    }

    /// The package to select for `relation`: one of that name, else one that provides it.
    fn candidate(&self, relation: &Relation) -> Result<Option<PackageId>, DebianError> {
        let real = newest(self.index, self.index.named(&relation.name).filter(|id| self.fits(*id, relation)));
        // A second version of a package that is selected already cannot be had beside it.
        if let Some(real) = real.filter(|id| !self.selected.contains_key(self.index.name(*id))) {
            return Ok(Some(real));
        }
        let mut best: Option<PackageId> = None;
        for id in self.index.providers(&relation.name) {
            let name = self.index.name(id);
            if self.exclude.contains(name)
                || self.selected.contains_key(name)
                || !self.provides(id, relation)?
            {
                continue;
            }
            let rank = |id: PackageId| (self.index.priority(id), self.index.name(id));
            if best.is_none_or(|best| rank(id) < rank(best)) {
                best = Some(id);
            }
        }
        Ok(best)
    }

    fn provides(&self, id: PackageId, relation: &Relation) -> Result<bool, DebianError> {
        let provides = parse(self.index, id, self.index.provides(id))?;
        Ok(provides.0.iter().flatten().any(|provided| {
            let version = provided.version.as_ref().map(|(_, version)| version);
            provided.name == relation.name && provision_fits(version, relation)
        }))
    }

    fn fits(&self, id: PackageId, relation: &Relation) -> bool {
        let version = self.index.version(id).parse::<Version>();
        relation.version.is_none() || version.is_ok_and(|version| provision_fits(Some(&version), relation))
    }

    /// The package, the one that needed it, and so on.
    fn chain(&self, id: PackageId) -> Vec<String> {
        let mut chain = vec![self.index.name(id).to_owned()];
        let mut at = id;
        while let Some(next) = self.needed_by.get(&at) {
            chain.push(self.index.name(*next).to_owned());
            at = *next;
        }
        chain
    }
}

/// Whether something of this version meets the relation; without a version it meets only a relation without one.
fn provision_fits(version: Option<&Version>, relation: &Relation) -> bool {
    let Some((constraint, wanted)) = &relation.version else {
        return true;
    };
    let Some(version) = version else { return false };
    match constraint {
        VersionConstraint::LessThan => version < wanted,
        VersionConstraint::LessThanEqual => version <= wanted,
        VersionConstraint::Equal => version == wanted,
        VersionConstraint::GreaterThan => version > wanted,
        VersionConstraint::GreaterThanEqual => version >= wanted,
    }
}

fn newest(index: &Index, ids: impl Iterator<Item = PackageId>) -> Option<PackageId> {
    // A version that does not parse is older than any that does.
    ids.max_by_key(|id| index.version(*id).parse::<Version>().ok())
}

fn parse(index: &Index, id: PackageId, field: &str) -> Result<Relations, DebianError> {
    field.parse().map_err(|problem| DebianError::Malformed {
        what: format!("the relation {field:?} of {}", index.name(id)),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::testing::stanza;
    use proptest::prelude::*;

    fn index(packages: &[(&str, &str)]) -> Index {
        let text: String = packages.iter().map(|(name, extra)| stanza(name, b"x", extra)).collect();
        Index::parse(&mut text.as_bytes(), 1 << 30, "Packages").unwrap()
    }

    fn names(index: &Index, roots: &[&str], exclude: &[&str]) -> Result<Vec<String>, DebianError> {
        let ids = resolve(index, "trixie", roots, exclude)?;
        Ok(ids.into_iter().map(|id| index.name(id).to_owned()).collect())
    }

    #[test]
    fn dependencies_are_followed() {
        let index = index(&[
            ("app", "Depends: lib (>= 1.0), mta, tool | other\nPre-Depends: base\n"),
            ("base", "Priority: required\n"),
            ("lib", "Depends: app, base:any\n"),
            ("other", ""),
            ("postfix", "Provides: mta\n"),
            ("exim", "Provides: mta\nPriority: standard\n"),
            ("needs-other", "Depends: other\n"),
            ("versioned", "Depends: virt (>= 2)\n"),
            ("virt-old", "Provides: virt (= 1)\n"),
            ("virt-none", "Provides: virt\n"),
            ("virt-new", "Provides: virt (= 2:0)\n"),
        ]);
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            // The first alternative names nothing, so the second is taken; of the providers the standard one.
            (&["app"], &[], &["app", "base", "exim", "lib", "other"]),
            // A provider that was asked for is good enough.
            (&["postfix", "app"], &[], &["app", "base", "lib", "other", "postfix"]),
            // What is excluded counts as there, and so do its own needs.
            (&["app"], &["lib", "tool"], &["app", "base", "exim"]),
            (&["app"], &["exim"], &["app", "base", "lib", "other", "postfix"]),
            (&["versioned"], &[], &["versioned", "virt-new"]),
            (&["base", "base"], &[], &["base"]),
        ];
        for (roots, exclude, expected) in cases {
            assert_eq!(names(&index, roots, exclude).unwrap(), *expected, "{roots:?} without {exclude:?}");
        }
    }

    #[test]
    fn the_newest_fitting_version_is_taken() {
        let text = [
            stanza("a", b"old", "").replace("1.0-1", "6.1.9-1"),
            stanza("a", b"new", "").replace("1.0-1", "6.1.10-1"),
            stanza("b", b"b", "Depends: a (<< 6.1.10)\n"),
        ]
        .concat();
        let index = Index::parse(&mut text.as_bytes(), 1 << 30, "Packages").unwrap();
        let version = |roots: &[&str]| {
            let ids = resolve(&index, "trixie", roots, &[]).unwrap();
            index.version(ids[0]).to_owned()
        };
        assert_eq!(version(&["a"]), "6.1.10-1");
        assert_eq!(version(&["b"]), "6.1.9-1");
    }

    #[test]
    fn what_cannot_be_met_names_the_chain() {
        let index = index(&[("app", "Depends: lib\n"), ("lib", "Depends: gone (>= 2) | lost\n")]);
        let error = names(&index, &["app"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "gone (>= 2) | lost cannot be met in trixie, needed by lib ← app");
        let error = names(&index, &["nothing"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "trixie has no package named nothing");
    }

    proptest! {
        #[test]
        fn resolving_is_closed_and_deterministic(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..40)) {
            let packages: Vec<(String, String)> = (0..12)
                .map(|n| {
                    let needs: Vec<_> =
                        edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| format!("p{to}")).collect();
                    let extra = if needs.is_empty() { String::new() } else { format!("Depends: {}\n", needs.join(", ")) };
                    (format!("p{n}"), extra)
                })
                .collect();
            let borrowed: Vec<_> = packages.iter().map(|(name, extra)| (name.as_str(), extra.as_str())).collect();
            let index = index(&borrowed);
            let found = names(&index, &["p0"], &[]).unwrap();
            prop_assert!(found.contains(&"p0".to_owned()));
            for (from, to) in edges {
                let (from, to) = (format!("p{from}"), format!("p{to}"));
                prop_assert!(!found.contains(&from) || found.contains(&to));
            }
            let mut reversed = borrowed.clone();
            reversed.reverse();
            prop_assert_eq!(found, names(&self::index(&reversed), &["p0"], &[]).unwrap());
        }
    }
}
