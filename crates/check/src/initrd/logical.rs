//! A root file system on a logical volume: what activates it.
//!
//! Source: dracut's module `90lvm` (`parse-lvm.sh`, `lvm_scan.sh`), and the scripts that Debian's
//! lvm2 puts into an initial RAM disk.

use std::collections::BTreeSet;

use super::{Initrd, Needs};
use crate::cmdline;
use crate::context::Context;
use crate::drivers::Driver;
use crate::rules::cmdline as cmdline_rules;
use crate::rules::initrd as rules;
use crate::unread::Unread;
use crate::volumes::{Named, Volumes};

/// Where the program is that activates logical volumes.
const PROGRAMS: [&str; 4] = ["/usr/sbin/lvm", "/sbin/lvm", "/usr/bin/lvm", "/bin/lvm"];
/// Folders that tell an initial RAM disk of dracut.
const OF_DRACUT: [&str; 2] = ["/usr/lib/dracut", "/lib/dracut"];

impl Initrd {
    /// Judges whether the logical volume of the root file system is activated.
    pub(super) fn judge_logical(
        &self,
        needs: &Needs<'_>,
        present: &BTreeSet<String>,
        volumes: &Volumes,
        context: &Context<'_>,
    ) -> Result<(), Unread> {
        let Some(path) = needs.root.and_then(|root| root.logical()) else {
            return Ok(());
        };
        if !self.tree.exists_any(&PROGRAMS)? {
            let message = format!(
                "the root file system is on the logical volume `{path}`, and the initrd has no `lvm`"
            );
            context.find(&rules::INITRD_LVM, message);
        }
        let is_built_in = needs.drivers.find("dm_mod", &["BLK_DEV_DM"]) == Driver::BuiltIn;
        if !is_built_in && !present.contains("dm_mod") && !needs.drivers.are_unknown() {
            let message = format!(
                "the root file system is on the logical volume `{path}`, and `dm_mod` is not in \
                 the initrd"
            );
            context.find(&rules::INITRD_LVM, message);
        }
        if self.tree.exists_any(&OF_DRACUT)? {
            self.judge_lists(path, needs.cmdline, volumes, context)?;
        }
        Ok(())
    }

    /// Without a list, dracut activates all; with one, it waits for each that is listed.
    fn judge_lists(
        &self,
        path: &str,
        cmdline: &str,
        volumes: &Volumes,
        context: &Context<'_>,
    ) -> Result<(), Unread> {
        let mut lines = vec![cmdline.to_owned()];
        let texts = self.tree.texts_in("/etc/cmdline.d", ".conf")?;
        lines.extend(texts.into_iter().map(|(_, text)| text));
        let all = lines.join(" ");
        let group = path.split('/').next().unwrap_or_default();
        let listed: Vec<_> = cmdline::values(&all, "rd.lvm.lv").collect();
        let groups: Vec<_> = cmdline::values(&all, "rd.lvm.vg").collect();
        let find = |message: String| context.find(&cmdline_rules::ROOT_NOT_ACTIVATED, message);
        let is_listed = listed.contains(&path) || groups.contains(&group);
        let is_off = matches!(cmdline::last(&all, "rd.lvm"), Some("0" | "no" | "off"));
        if is_off {
            find("`rd.lvm=0` keeps logical volumes from being activated".to_owned());
        } else if !is_listed && (!listed.is_empty() || !groups.is_empty()) {
            let listed = [listed, groups].concat().join("`, `");
            find(format!(
                "the root file system is on the logical volume `{path}`, and only `{listed}` is \
                 activated"
            ));
        } else {
            for name in listed {
                if let Named::Missing = volumes.named(&format!("/dev/{name}")) {
                    find(format!(
                        "`rd.lvm.lv={name}` names no logical volume of this image, and the initrd \
                         waits for it"
                    ));
                }
            }
        }
        Ok(())
    }
}
