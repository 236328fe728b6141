//! Secure Boot: programs signed by keys made for the test.

use std::fs;
use std::path::{Path, PathBuf};

use check::{Options, Report, Verdict};

use super::base::{self, base};
use super::tools::{Folder, check, ids, run};

const SECURE_BOOT: Options = Options {
    generation: None,
    data_disk: false,
    secure_boot: true,
};

/// A key with a certificate by an authority of this name.
struct Key {
    key: PathBuf,
    certificate: PathBuf,
}

fn key(folder: &Folder, authority: &str) -> Key {
    let path = |name: &str| folder.path(&format!("{authority}{name}"));
    let (ca_key, ca) = (path("ca.key"), path("ca.crt"));
    let subject = format!("/O=Test/CN={authority}");
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "3650"];
    let request = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = new.iter().map(|a| a as _).collect();
        args.extend(more);
        run("openssl", &args);
    };
    request(&[
        &"-x509", &"-keyout", &ca_key, &"-out", &ca, &"-subj", &subject,
    ]);
    let (key, certificate) = (path(".key"), path(".crt"));
    request(&[
        &"-x509",
        &"-CA",
        &ca,
        &"-CAkey",
        &ca_key,
        &"-keyout",
        &key,
        &"-out",
        &certificate,
        &"-subj",
        &"/CN=The signer",
    ]);
    Key { key, certificate }
}

/// The right image with another loader.
fn with_loader(folder: &Folder, loader: &Path) -> Report {
    let image = folder.copy("disk.raw", &base().image);
    let esp = format!("{}@@{}", image.display(), base::ESP_START);
    run(
        "mcopy",
        &[&"-o", &"-i", &esp, &loader, &"::EFI/BOOT/BOOTX64.EFI"],
    );
    check(&image, SECURE_BOOT)
}

fn sign(folder: &Folder, loader: &Path, key: &Key) -> PathBuf {
    let signed = folder.path("signed.efi");
    let Key { key, certificate } = key;
    run(
        "sbsign",
        &[
            &"--key",
            key,
            &"--cert",
            certificate,
            &"--output",
            &signed,
            &loader,
        ],
    );
    signed
}

#[test]
fn signatures_of_the_loader_and_the_kernel() {
    let folder = Folder::new();
    let esp = format!("{}@@{}", base().image.display(), base::ESP_START);
    let loader = folder.path("loader.efi");
    run("mcopy", &[&"-i", &esp, &"::EFI/BOOT/BOOTX64.EFI", &loader]);

    let report = with_loader(&folder, &loader);
    assert_eq!(report.verdict(), Verdict::NotReady);
    assert!(ids(&report).contains(&"secure-boot-unsigned"), "{report}");
    // Debian's kernel is signed.
    let message = |report: &Report, id: &str| {
        let of_id = report.findings.iter().filter(|finding| finding.id == id);
        of_id
            .map(|finding| finding.message.clone())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let signed = message(&report, "secure-boot-signed");
    assert!(
        signed.contains("vmlinuz") && signed.contains("Debian Secure Boot"),
        "{report}"
    );

    // With a key of one's own, only who starts the machine can know.
    let own = sign(&folder, &loader, &key(&folder, "Own CA"));
    let report = with_loader(&folder, &own);
    assert_eq!(report.verdict(), Verdict::Unknown, "{report}");
    let found = message(&report, "secure-boot-keys");
    assert!(
        found.contains("The signer (certified by Own CA)"),
        "{report}"
    );

    let microsoft = key(&folder, "Microsoft Corporation UEFI CA 2011");
    let signed = sign(&folder, &loader, &microsoft);
    let report = with_loader(&folder, &signed);
    assert_eq!(report.verdict(), Verdict::Ready, "{report}");

    // A byte of its text changed after it was signed.
    let mut bytes = fs::read(&signed).unwrap();
    let at = bytes
        .windows(8)
        .position(|window| window == b"search.f")
        .unwrap();
    bytes[at] = b'S';
    fs::write(&signed, bytes).unwrap();
    let report = with_loader(&folder, &signed);
    assert!(ids(&report).contains(&"secure-boot-changed"), "{report}");
}
