//! Not here yet.

use crate::model::Builder;

pub(crate) fn look(_builder: &mut Builder) {}
