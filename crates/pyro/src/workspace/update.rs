//! Name and labels.

use super::names::{check_labels, check_name};
use super::{WorkspaceError, WorkspaceId, WorkspaceStatus};
use crate::boxed;
use crate::store::Record;
use crate::{Pyro, PyroError};
use std::collections::BTreeMap;

/// What to change about a workspace's name and labels. What is not mentioned stays.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceUpdate {
    /// The new name.
    pub name: Option<String>,
    /// Take the name away.
    pub clear_name: bool,
    /// Labels to add, or to give another value.
    pub labels: BTreeMap<String, String>,
    /// Keys of labels to take away; that there is none is fine.
    pub clear_labels: Vec<String>,
}

impl WorkspaceUpdate {
    fn check(&self) -> Result<(), WorkspaceError> {
        let says_nothing =
            self.name.is_none() && !self.clear_name && self.labels.is_empty() && self.clear_labels.is_empty();
        if says_nothing {
            return Err(WorkspaceError::PointlessUpdate { why: "changes nothing" });
        }
        if self.name.is_some() && self.clear_name {
            return Err(WorkspaceError::PointlessUpdate { why: "gives a name and takes it away" });
        }
        if self.clear_labels.iter().any(|key| self.labels.contains_key(key)) {
            return Err(WorkspaceError::PointlessUpdate { why: "gives a label and takes it away" });
        }
        self.name.as_deref().map_or(Ok(()), check_name)?;
        check_labels(&self.labels)
    }
}

impl Pyro {
    /// Changes name and labels, in whatever state the workspace is.
    #[boxed]
    pub async fn update_workspace(
        &self,
        id: &WorkspaceId,
        update: WorkspaceUpdate,
    ) -> Result<WorkspaceStatus, PyroError> {
        update.check()?;
        self.workspace(id).await?;
        let wanted = id.clone();
        let merged = self
            .transact(move |store| {
                // As it is in this very transaction: another update may have come in between.
                let Some(record) = Record::find(store, &wanted)? else { return Ok(Ok(())) };
                let name = if update.clear_name { None } else { update.name.or(record.name) };
                let mut labels = record.labels;
                labels.retain(|key, _| !update.clear_labels.contains(key));
                labels.extend(update.labels);
                if let Err(error) = check_labels(&labels) {
                    return Ok(Err(error));
                }
                Record::set_name(store, &wanted, name.as_deref(), &labels)?;
                Record::touch(store, &wanted)?;
                Ok(Ok(()))
            })
            .await?;
        merged?;
        self.status_workspace(id).await
    }
}
