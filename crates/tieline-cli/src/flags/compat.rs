//! The verbs that are tools of util-linux. Their words are read by [`compat`](crate::compat).

use std::ffi::OsString;

use clap::Args;

/// Make System V objects, as util-linux's ipcmk does
///
/// Options, output and exit codes are those of ipcmk(1); `tieline ipcmk --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcmk --shmem 64K --mode 600
  tieline ipcmk --compat=2.43 --posix-mqueue --name /jobs")]
pub(crate) struct Ipcmk {
    #[command(flatten)]
    words: Words,
}

/// Remove System V objects, as util-linux's ipcrm does
///
/// Options, output and exit codes are those of ipcrm(1); `tieline ipcrm --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcrm --shmem-id 32770
  tieline ipcrm --queue-key 0x77
  tieline ipcrm --compat=2.43 --posix-semaphore /permits")]
pub(crate) struct Ipcrm {
    #[command(flatten)]
    words: Words,
}

/// Show System V objects, as util-linux's ipcs does
///
/// Options, output and exit codes are those of ipcs(1); `tieline ipcs --help` lists them. --compat=2.43 in front of them,
/// or `TIELINE_COMPAT=2.43` in the environment, asks for that version of util-linux.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline ipcs
  tieline ipcs --shmems --pid
  tieline ipcs --limits --human
  ln -s $(command -v tieline) /usr/local/bin/ipcs   # and the old name is ours")]
pub(crate) struct Ipcs {
    #[command(flatten)]
    words: Words,
}

/// List System V objects and limits as a table, as util-linux's lsipc does
///
/// Options, output and exit codes are those of lsipc(1); `tieline lsipc --help` lists them. --compat=2.43 in front of
/// them adds POSIX objects.
#[derive(Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(after_help = "\
Examples:
  tieline lsipc
  tieline lsipc --shmems --output +ATTACH,CUSER
  tieline lsipc --semaphores --id 3
  tieline lsipc --compat=2.43 --posix-shmems --json")]
pub(crate) struct Lsipc {
    #[command(flatten)]
    words: Words,
}

/// A command line that is not read here but by [`compat`](crate::compat); this is for help, manual pages, completions.
#[derive(Args)]
struct Words {
    /// Options as the tool of util-linux has them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    _words: Vec<OsString>,
}
