//! The manifest: what it holds, and reading one that anybody may have written.

use std::io::Read;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::{Md5Sum, Sha256Sum};
use vhd::footer::SECTOR_SIZE;

/// Number of the shape that is written and read here.
pub const SCHEMA: u32 = 1;
/// Bytes of a view that a block has; the last may have fewer.
pub const BLOCK_SIZE: u64 = 4 << 20;

/// Sums of views.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`BLOCK_SIZE`].
    pub block_size: u64,
    /// The views, in the order of their names.
    pub views: Vec<ViewSums>,
}

/// The sums of one view.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ViewSums {
    /// Its path below the mount.
    pub view: String,
    /// Its size in bytes, with the footer.
    pub view_size: u64,
    /// The unique id in its footer.
    pub unique_id: String,
    /// SHA-256 of the whole; `None` if only blocks were asked for.
    #[serde(with = "hex_sum")]
    pub sha256: Option<Sha256Sum>,
    /// MD5 of the whole, as Azure's Content-MD5 is made; `None` if only blocks were asked for.
    #[serde(with = "hex_sum")]
    pub md5: Option<Md5Sum>,
    /// SHA-256 of each block; `None` for one that holds zeros only.
    #[serde(serialize_with = "write_blocks", deserialize_with = "read_blocks")]
    pub blocks: Vec<Option<Sha256Sum>>,
}

/// Why a text is no manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is no JSON, of another shape, cut off, or cannot be read.
    #[error("it is no manifest, or only a part of one: {0}")]
    Form(#[from] serde_json::Error),
    /// It was made by another version of the program.
    #[error("its schema is {0}, and this program knows {SCHEMA}; make it anew")]
    Schema(u64),
    /// Its blocks have another size.
    #[error("its blocks have {0} bytes, and {BLOCK_SIZE} is expected; make it anew")]
    BlockSize(u64),
    /// The number of sums does not fit the size.
    #[error("it holds {found} sums for {view:?}, whose {size} bytes have {expected} blocks")]
    Blocks {
        /// The view.
        view: String,
        /// Its size in bytes.
        size: u64,
        /// Sums that there are.
        found: u64,
        /// Sums that there should be.
        expected: u64,
    },
    /// A view cannot have that size.
    #[error("{0:?} would have {1} bytes, which no view has")]
    Size(String, u64),
}

impl Manifest {
    /// A manifest of these views.
    pub fn new(views: Vec<ViewSums>) -> Self {
        Self {
            schema: SCHEMA,
            block_size: BLOCK_SIZE,
            views,
        }
    }

    /// Reads a manifest and checks that it makes sense.
    ///
    /// # Errors
    ///
    /// See [`ManifestError`].
    pub fn read(source: impl Read) -> Result<Self, ManifestError> {
        // Another schema may have another shape, so its number counts before all else does.
        let value: Loose = serde_json::from_reader(source)?;
        if value.schema != u64::from(SCHEMA) {
            return Err(ManifestError::Schema(value.schema));
        }
        if value.block_size != BLOCK_SIZE {
            return Err(ManifestError::BlockSize(value.block_size));
        }
        let manifest = Self::new(value.views);
        for view in &manifest.views {
            view.check()?;
        }
        Ok(manifest)
    }
}

/// A manifest of which nothing was checked.
#[derive(Deserialize)]
struct Loose {
    schema: u64,
    #[serde(default)]
    block_size: u64,
    #[serde(default)]
    views: Vec<ViewSums>,
}

impl ViewSums {
    fn check(&self) -> Result<(), ManifestError> {
        let size = self.view_size;
        if size < SECTOR_SIZE || size > i64::MAX as u64 {
            return Err(ManifestError::Size(self.view.clone(), size));
        }
        let (found, expected) = (self.blocks.len() as u64, size.div_ceil(BLOCK_SIZE));
        if found == expected {
            return Ok(());
        }
        Err(ManifestError::Blocks {
            view: self.view.clone(),
            size,
            found,
            expected,
        })
    }
}

fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A sum in the hexadecimal digits of the usual tools, or null.
#[derive(Clone, Copy)]
struct Sum<const N: usize>(Option<[u8; N]>);

impl<const N: usize> Serialize for Sum<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.map(|bytes| encode(&bytes)).serialize(serializer)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Sum<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        let wrong = || serde::de::Error::custom(format!("{text:?} is no sum of {N} bytes"));
        decode(&text)
            .map(|bytes| Self(Some(bytes)))
            .ok_or_else(wrong)
    }
}

mod hex_sum {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Sum};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        sum: &Option<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Sum(*sum).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        Sum::deserialize(deserializer).map(|sum| sum.0)
    }
}

fn write_blocks<S: Serializer>(
    blocks: &[Option<Sha256Sum>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(blocks.iter().map(|block| Sum(*block)))
}

fn read_blocks<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Option<Sha256Sum>>, D::Error> {
    let blocks = Vec::<Sum<32>>::deserialize(deserializer)?;
    Ok(blocks.into_iter().map(|sum| sum.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest::new(vec![ViewSums {
            view: "disk.vhd".into(),
            view_size: BLOCK_SIZE + 512,
            unique_id: "x".into(),
            sha256: Some([0xab; 32]),
            md5: None,
            blocks: vec![None, Some([1; 32])],
        }])
    }

    fn read(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::read(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = serde_json::to_string_pretty(&sample()).unwrap();
        assert!(text.contains(&"ab".repeat(32)) && text.contains("null"));
        assert_eq!(read(&text).unwrap(), sample());
    }

    #[test]
    fn each_defect_is_named() {
        let good = serde_json::to_value(sample()).unwrap();
        let error = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = good.clone();
            change(&mut value);
            read(&value.to_string()).unwrap_err().to_string()
        };
        assert!(error(&|v| v["schema"] = 2.into()).contains("schema is 2"));
        assert!(error(&|v| v["block_size"] = 512.into()).contains("512 bytes"));
        assert!(error(&|v| v["views"][0]["blocks"] = serde_json::json!([null])).contains("1 sums"));
        assert!(error(&|v| v["views"][0]["blocks"][1] = "é".into()).contains("no sum"));
        assert!(error(&|v| v["views"][0]["md5"] = "zz".into()).contains("no sum"));
        assert!(error(&|v| v["views"][0]["view_size"] = u64::MAX.into()).contains("no view"));
        assert!(
            read("{\"schema\": 7, \"other\": []}")
                .unwrap_err()
                .to_string()
                .contains("schema is 7")
        );
        let text = good.to_string();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            let error = read(&text[..cut]).unwrap_err().to_string();
            assert!(error.contains("only a part"), "{error}");
        }
        assert!(read("[]").is_err());
    }
}
