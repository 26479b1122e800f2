//! Not here yet.

use crate::model::Builder;
use crate::{Result, Scan};

pub(crate) fn look(_builder: &mut Builder, _scan: &Scan) -> Result<()> {
    Ok(())
}
