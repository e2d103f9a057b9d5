//! Templates, from outside: when they are used, that nothing shows it, and that nothing depends on them.

mod background;
mod clones;
mod damage;
mod fit;
mod isolation;
mod policy;
