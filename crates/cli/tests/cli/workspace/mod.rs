//! `pyro workspace`: guests that stay, on real guests.

mod concurrency;
mod crash;
mod diffs;
mod disk_full;
mod expiry;
mod files;
mod hostile_guest;
mod lifecycle;
mod live;
mod patches;
mod recipes;
mod refusals;
mod snapshots;
mod transfers;
