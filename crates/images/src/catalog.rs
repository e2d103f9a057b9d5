//! The environments pyro knows, as package lists of one Debian suite each.

use crate::ImagesError;

/// Raised whenever a recipe or the way of building changes, so that what was built before becomes stale.
pub const CATALOG_VERSION: &str = "1";

/// How one environment is made.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What users call it, as `debian:12`.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Code name of the Debian suite.
    pub suite: &'static str,
    /// Packages besides the essential and required ones; their dependencies follow.
    pub packages: &'static [&'static [&'static str]],
}

const BASE: &[&str] =
    &["apt", "ca-certificates", "curl", "less", "procps", "iproute2", "xz-utils", "netbase"];
const GIT: &[&str] = &["git", "openssh-client", "patch"];
const BUILD: &[&str] = &["build-essential", "pkg-config", "python3", "python3-venv"];

/// Every environment of the catalog, the default one first.
pub const CATALOG: &[Recipe] = &[
    Recipe {
        name: "debian:12",
        description: "Debian 12 with Git",
        suite: "bookworm",
        packages: &[BASE, GIT],
    },
    Recipe {
        name: "debian:12-base",
        description: "Debian 12 with a shell and core tools",
        suite: "bookworm",
        packages: &[BASE],
    },
    Recipe {
        name: "debian:12-build",
        description: "Debian 12 with Git, a C and C++ toolchain and Python",
        suite: "bookworm",
        packages: &[BASE, GIT, BUILD],
    },
    Recipe { name: "debian:13", description: "Debian 13 with Git", suite: "trixie", packages: &[BASE, GIT] },
    Recipe {
        name: "debian:13-base",
        description: "Debian 13 with a shell and core tools",
        suite: "trixie",
        packages: &[BASE],
    },
    Recipe {
        name: "debian:13-build",
        description: "Debian 13 with Git, a C and C++ toolchain and Python",
        suite: "trixie",
        packages: &[BASE, GIT, BUILD],
    },
];

impl Recipe {
    /// The recipe called `name`; fails with the near matches when there is none.
    pub fn find(name: &str) -> Result<&'static Self, ImagesError> {
        CATALOG.iter().find(|recipe| recipe.name == name).ok_or_else(|| ImagesError::UnknownEnvironment {
            name: name.chars().take(80).collect(),
            near: near_matches(name),
        })
    }

    /// The name as a file name: `debian-12-build`.
    pub fn slug(&self) -> String {
        self.name.replace(':', "-")
    }

    /// The packages, in the catalog's order.
    pub fn package_names(&self) -> Vec<&'static str> {
        self.packages.iter().flat_map(|group| group.iter().copied()).collect()
    }
}

fn near_matches(name: &str) -> Vec<&'static str> {
    let mut ranked: Vec<(f64, &str)> =
        CATALOG.iter().map(|recipe| (strsim::jaro_winkler(name, recipe.name), recipe.name)).collect();
    ranked.sort_by(|left, right| right.0.total_cmp(&left.0));
    ranked.into_iter().filter(|(score, _)| *score > 0.7).take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_answered_with_the_near_ones() {
        let error = Recipe::find("debain:12").unwrap_err();
        let ImagesError::UnknownEnvironment { near, .. } = error else { panic!("{error}") };
        assert_eq!(near.first(), Some(&"debian:12"));
        let error = Recipe::find("zzz").unwrap_err();
        let ImagesError::UnknownEnvironment { near, .. } = error else { panic!("{error}") };
        assert!(near.is_empty());
    }

    #[test]
    fn names_are_unique_and_make_file_names() {
        for recipe in CATALOG {
            assert_eq!(Recipe::find(recipe.name).unwrap(), recipe);
            assert!(
                recipe.slug().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "{}",
                recipe.slug()
            );
        }
    }
}
