//! Not here yet.

use crate::Scan;
use crate::model::Builder;

pub(crate) fn look(_builder: &mut Builder, _scan: &Scan) {}
