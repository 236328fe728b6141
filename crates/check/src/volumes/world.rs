//! What GRUB sees of the volumes.

use super::{Volume, Volumes};
use crate::grub::{Place, SearchBy, Stat, World};
use crate::unread::Unread;

impl World for Volumes {
    fn stat(&self, place: &Place) -> Result<Option<Stat>, Unread> {
        let Some(tree) = self.tree_at(place)? else {
            return Ok(None);
        };
        let meta = tree.meta(&place.path)?;
        Ok(meta.map(|meta| Stat {
            is_folder: meta.is_folder(),
            size: meta.size,
        }))
    }

    fn text(&self, place: &Place) -> Result<Option<String>, Unread> {
        match self.tree_at(place)? {
            Some(tree) => tree.text(&place.path),
            None => Ok(None),
        }
    }

    fn list(&self, place: &Place) -> Result<Vec<String>, Unread> {
        match self.tree_at(place)? {
            Some(tree) => tree.list(&place.path),
            None => Ok(Vec::new()),
        }
    }

    fn search(&self, by: SearchBy, wanted: &str) -> Result<Option<String>, Unread> {
        for volume in &self.all {
            let found = match by {
                SearchBy::Uuid => {
                    let uuid = volume.fs_uuid.as_deref();
                    uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
                }
                SearchBy::Label => volume.label.as_deref() == Some(wanted),
                SearchBy::File => match &volume.files {
                    Some(_) => match self.tree(&volume.grub)? {
                        Some(tree) => tree.exists(wanted)?,
                        None => false,
                    },
                    None => false,
                },
            };
            if found {
                return Ok(Some(volume.grub.clone()));
            }
        }
        Ok(None)
    }

    fn device(&self, name: &str) -> Option<String> {
        let name = name.trim_matches(['(', ')']);
        if let Some(names) = name.strip_prefix("lvm/").or(name.strip_prefix("lvmid/")) {
            let same = |volume: &&Volume| {
                let logical = volume.logical.as_ref();
                logical.is_some_and(|found| found.mapper == names || found.id == names)
            };
            return self.all.iter().find(same).map(|volume| volume.grub.clone());
        }
        let part = match name.split_once(',') {
            Some(("hd0" | "", part)) => part,
            None if name == "hd0" => "0",
            _ => return None,
        };
        let number: u32 = part
            .trim_start_matches("gpt")
            .trim_start_matches("msdos")
            .parse()
            .ok()?;
        let volume = self.all.iter().find(|volume| volume.number == number)?;
        Some(volume.grub.clone())
    }

    fn shown(&self, place: &Place) -> String {
        match self.by_grub(&place.device) {
            Some(volume) => format!("{} of {}", place.path, volume.place()),
            None => format!("({}){}", place.device, place.path),
        }
    }
}
