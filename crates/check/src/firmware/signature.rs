//! Signatures of programs for UEFI: who made them, and whether they fit the program.
//!
//! Source: Microsoft's "Windows Authenticode Portable Executable Signature Format" and "PE
//! Format"; RFC 5652 (CMS) and RFC 5280 (names). The keys themselves are not computed with: whether
//! a signature is right is for the firmware to find, which has the keys.

use std::ops::Range;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sha2::{Digest, Sha256};

use super::pe::Certificates;

/// Type of an entry of the certificate table that holds a signature after PKCS #7.
const PKCS_SIGNED_DATA: u16 = 2;
/// Most signatures of a program, and most names in one.
const MAX_SIGNATURES: usize = 16;
const MAX_PARTS: usize = 256;
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// A signature of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Signature {
    /// Name of the signer.
    pub(crate) signer: String,
    /// Name of who certified the signer.
    pub(crate) issuer: String,
    /// Whether it was made of these bytes; `None` where that could not be told.
    pub(crate) fits: Option<bool>,
}

/// The signatures of a program; those that cannot be read are left out.
pub(crate) fn signatures(bytes: &[u8], certificates: &Certificates) -> Vec<Signature> {
    let digests = digests_of(bytes, certificates);
    let mut rest = bytes.get(certificates.table.clone()).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(header) = rest.get(..8) {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_le_bytes([header[6], header[7]]);
        let Some(content) = rest.get(8..length) else {
            break;
        };
        if kind == PKCS_SIGNED_DATA {
            found.extend(read(content, &digests));
        }
        if found.len() >= MAX_SIGNATURES {
            break;
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

/// SHA-256 of a program without its checksum, the place of its signatures, and them: of all bytes,
/// and of headers, sections and what is behind them, between which there may be gaps.
fn digests_of(bytes: &[u8], certificates: &Certificates) -> Vec<Vec<u8>> {
    let Certificates { table, parts, .. } = certificates;
    let last = parts.iter().map(|part| part.end).max().unwrap_or(0);
    let behind = last.min(table.start)..table.start;
    let ranges = [
        vec![0..table.start, table.end..bytes.len()],
        parts.iter().cloned().chain([behind]).collect(),
    ];
    ranges
        .iter()
        .filter_map(|ranges| digest_of(bytes, ranges, certificates))
        .collect()
}

fn digest_of(bytes: &[u8], ranges: &[Range<usize>], of: &Certificates) -> Option<Vec<u8>> {
    let mut hash = Sha256::new();
    for range in ranges {
        if !range.contains(&of.checksum) {
            hash.update(bytes.get(range.clone())?);
            continue;
        }
        hash.update(bytes.get(range.start..of.checksum)?);
        hash.update(bytes.get(of.checksum + 4..of.directory)?);
        hash.update(bytes.get(of.directory + 8..range.end)?);
    }
    Some(hash.finalize().to_vec())
}

/// The signers of a `ContentInfo` with `SignedData` in it.
fn read(content: &[u8], digests: &[Vec<u8>]) -> Vec<Signature> {
    read_signers(content, digests).unwrap_or_default()
}

fn read_signers(content: &[u8], digests: &[Vec<u8>]) -> der::Result<Vec<Signature>> {
    // Zeros may stand behind it.
    let info = first(content)?;
    let [_, signed] = parts(info)?[..] else {
        return Ok(Vec::new());
    };
    let signed = parts(AnyRef::from_der(signed.value())?)?;
    let fits = signed
        .get(2)
        .and_then(|content| digest_in(*content).ok().flatten())
        .map(|signed| digests.contains(&signed));
    let mut certificates = Vec::new();
    let mut signers = Vec::new();
    for part in signed.iter().skip(3) {
        match part.tag() {
            tag if tag == context(0) => certificates = parts(*part)?,
            Tag::Set => signers = parts(*part)?,
            _ => {}
        }
    }
    let mut found = Vec::new();
    for signer in signers.into_iter().take(MAX_SIGNATURES) {
        let Some(identity) = parts(signer)?.get(1).copied() else {
            continue;
        };
        let [issuer, serial] = parts(identity)?[..] else {
            continue;
        };
        let subject = subject_of(&certificates, issuer, serial);
        found.push(Signature {
            signer: subject.unwrap_or_else(|| "a signer without a certificate".to_owned()),
            issuer: name_of(issuer).unwrap_or_default(),
            fits,
        });
    }
    Ok(found)
}

/// The digest of the program in an `encapContentInfo`, where it is of SHA-256.
fn digest_in(content: AnyRef<'_>) -> der::Result<Option<Vec<u8>>> {
    let [_, explicit] = parts(content)?[..] else {
        return Ok(None);
    };
    let [_, message] = parts(AnyRef::from_der(explicit.value())?)?[..] else {
        return Ok(None);
    };
    let [algorithm, digest] = parts(message)?[..] else {
        return Ok(None);
    };
    let is_sha_256 = parts(algorithm)?
        .first()
        .is_some_and(|id| id.decode_as::<ObjectIdentifier>() == Ok(SHA_256));
    Ok((is_sha_256 && digest.tag() == Tag::OctetString).then(|| digest.value().to_vec()))
}

/// The name in the certificate that a signer is identified by.
fn subject_of(
    certificates: &[AnyRef<'_>],
    issuer: AnyRef<'_>,
    serial: AnyRef<'_>,
) -> Option<String> {
    certificates.iter().find_map(|certificate| {
        let body = *parts(*certificate).ok()?.first()?;
        let mut fields = parts(body).ok()?.into_iter().peekable();
        // The version is left out of the first one.
        fields.next_if(|field| field.tag() == context(0));
        let own_serial = fields.next()?;
        let (_, own_issuer, _, subject) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        (own_serial == serial && own_issuer == issuer).then(|| name_of(subject))?
    })
}

/// The common name in a name, or its organization.
fn name_of(name: AnyRef<'_>) -> Option<String> {
    let mut organization = None;
    for set in parts(name).ok()? {
        for attribute in parts(set).ok()? {
            let [kind, value] = parts(attribute).ok()?[..] else {
                continue;
            };
            let text = || String::from_utf8_lossy(value.value()).into_owned();
            match kind.decode_as::<ObjectIdentifier>() {
                Ok(COMMON_NAME) => return Some(text()),
                Ok(ORGANIZATION) => organization = Some(text()),
                _ => {}
            }
        }
    }
    organization
}

fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// The first value of several bytes.
fn first(bytes: &[u8]) -> der::Result<AnyRef<'_>> {
    AnyRef::decode(&mut SliceReader::new(bytes)?)
}

/// The values in a sequence or set.
fn parts(value: AnyRef<'_>) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(value.value())?;
    let mut parts = Vec::new();
    while !reader.is_finished() && parts.len() < MAX_PARTS {
        parts.push(AnyRef::decode(&mut reader)?);
    }
    Ok(parts)
}
