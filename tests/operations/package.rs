use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{assert_fine, path, read};

/// Runs a program of the system to its end; what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("CHAINFLUME_DEB_COMPRESSION", "none").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs it"));
    assert_fine(&output);
    String::from_utf8(output.stdout).unwrap()
}

/// Files that match the pattern of an asset, which has one `*` at most.
fn matching(pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.to_owned()] };
    let (folder, start) = before.rsplit_once('/').unwrap_or((".", before));
    let names = std::fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let names = names.filter(|name| name.starts_with(start) && name.ends_with(after));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Mode and path of each file that cargo-deb would install by the metadata into such a place, manual pages compressed. Those of
/// `target/package` are there once `scripts/deb` has run.
fn by_the_metadata(place: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let metadata = &manifest["package"]["metadata"]["deb"];
    let mut files = BTreeSet::new();
    for asset in metadata["assets"].as_array().unwrap() {
        let [from, to, mode] = [0, 1, 2].map(|index| asset[index].as_str().unwrap());
        if !place(to) {
            continue;
        }
        for file in matching(from) {
            let name = file.rsplit('/').next().unwrap();
            let target = if to.ends_with('/') { format!("{to}{name}") } else { to.to_owned() };
            let packed = if target.contains("/man/") { ".gz" } else { "" };
            let mode = if mode == "755" { "-rwxr-xr-x" } else { "-rw-r--r--" };
            files.insert(format!("{mode} root/root ./{target}{packed}"));
        }
    }
    for file in ["changelog.gz", "copyright"] {
        files.insert(format!("-rw-r--r-- root/root ./usr/share/doc/chainflume/{file}"));
    }
    files
}

#[test]
fn the_package_has_what_the_metadata_says_and_belongs_to_root() {
    let folder = tempfile::tempdir().unwrap();
    let script = path("scripts/deb");
    let arguments = [env!("CARGO_BIN_EXE_chainflume"), folder.path().to_str().unwrap()];
    let deb = run(script.to_str().unwrap(), &arguments);
    let deb = deb.trim_end();

    let listing = run("dpkg-deb", &["--contents", deb]);
    let files = listing.lines().filter(|line| !line.ends_with('/')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}", words[0], words[1], words[5])
    });
    assert_eq!(files.collect::<BTreeSet<_>>(), by_the_metadata(|_| true));

    let field = |name| run("dpkg-deb", &["--field", deb, name]).trim_end().to_owned();
    assert_eq!([field("Package"), field("Version")], ["chainflume", env!("CARGO_PKG_VERSION")]);
    let depends = field("Depends");
    assert!(depends.starts_with("libc6 (>= 2.") && depends.ends_with(", ca-certificates"), "{depends}");
    assert_eq!(run("dpkg-deb", &["--info", deb, "conffiles"]), "/etc/chainflume/chainflume.toml\n");
    let pages = ["chainflume", "chainflume-status", "chainflume-dead-letters-retry"];
    for page in pages {
        assert!(listing.contains(&format!("./usr/share/man/man1/{page}.1.gz")), "{page}");
    }
}

#[test]
fn the_scripts_of_the_package_are_shell() {
    for script in ["postinst", "prerm", "postrm"] {
        run("sh", &["-n", path(&format!("packaging/debian/{script}")).to_str().unwrap()]);
    }
}

#[test]
fn the_configuration_that_is_installed_is_right_as_it_is() {
    let file = path("packaging/debian/chainflume.toml");
    run(env!("CARGO_BIN_EXE_chainflume"), &["check", "--offline", "--config", file.to_str().unwrap()]);
    assert!(read("packaging/debian/chainflume.toml").contains("data_dir = \"/var/lib/chainflume\""));
}

#[test]
fn the_image_runs_what_the_package_brings() {
    let (image, compose) = (read("Dockerfile"), read("compose.yaml"));
    for line in ["USER chainflume", "HEALTHCHECK", "EXPOSE 9464", "STOPSIGNAL SIGTERM"] {
        assert!(image.lines().any(|found| found.starts_with(line)), "{line}");
    }
    let rust: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let rust = rust["workspace"]["package"]["rust-version"].as_str().unwrap().to_owned();
    assert!(image.contains(&format!("FROM rust:{rust}-")), "the compiler of the image is {rust}");
    let copied =
        |line: &str| line.strip_prefix("COPY ").filter(|line| !line.starts_with("--")).map(str::to_owned);
    let copied: Vec<String> = image.lines().filter_map(copied).collect();
    let copied: Vec<&str> = copied.iter().flat_map(|line| line.split(' ').rev().skip(1)).collect();
    let ignored = read(".dockerignore");
    for file in &copied {
        assert!(path(file).exists(), "{file}");
        assert!(
            ignored.lines().any(|line| line == format!("!{file}")),
            "{file} is left out by .dockerignore"
        );
    }
    builds_from(&image, &copied);
    for service in ["  chainflume:\n", "  postgres:\n", "  redis:\n"] {
        assert!(compose.contains(service), "{service}");
    }
}

/// Cargo reads the manifests of all members and refuses a target whose file is not there. The compiler reads what sources include.
fn builds_from(image: &str, copied: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for file in copied {
        let (from, to) = (path(file), folder.path().join(file));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        run("cp", &["-r", from.to_str().unwrap(), to.to_str().unwrap()]);
    }
    let mut cargo = Command::new(env!("CARGO"));
    // Packages of other systems are not in the registry of a machine that built this one.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cargo.args([
        "metadata",
        "--offline",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]);
    assert_fine(&cargo.current_dir(folder.path()).output().unwrap());

    let mut read = 0;
    for source in ["src", "crates"].iter().flat_map(|within| sources(&folder.path().join(within))) {
        let text = std::fs::read_to_string(&source).unwrap();
        for (of, from) in [("include_str!(\"", source.parent().unwrap()), ("migrate!(\"", package(&source))] {
            for file in text.split(of).skip(1).filter_map(|rest| rest.split('"').next()) {
                let there = from.join(file).exists();
                assert!(there, "{} includes {file}, which the image does not copy", source.display());
                read += 1;
            }
        }
    }
    assert!(read >= 15, "the sources were read: {read}");
    for place in ["/src", "/usr/local/cargo"] {
        assert!(image.contains(&format!("--remap-path-prefix={place}=")), "{place} stays out of the binary");
    }
}

/// The sources below a folder, without those of tests.
fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let within = |path: std::path::PathBuf| {
        let is_test = path.file_name().is_some_and(|name| name == "tests" || name == "tests.rs");
        match path.is_dir() {
            _ if is_test => Vec::new(),
            true => sources(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => vec![path],
            false => Vec::new(),
        }
    };
    entries.flat_map(within).collect()
}

/// The folder of the manifest of the package that a source belongs to.
fn package(source: &Path) -> &Path {
    source.ancestors().find(|folder| folder.join("Cargo.toml").exists()).unwrap()
}

/// Relative links of a page, without their anchors.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let targets = targets.filter(|link| !link.contains("://") && !link.starts_with('#'));
    targets.map(|link| link.split('#').next().unwrap().to_owned()).collect()
}

#[test]
fn links_of_installed_pages_lead_to_installed_files() {
    let doc = "./usr/share/doc/chainflume/";
    let files = by_the_metadata(|place| place.starts_with("usr/share/doc/"));
    let installed: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.split_once(doc)?.1)).collect();
    let pages: Vec<&&str> = installed.iter().filter(|file| file.ends_with(".md")).collect();
    assert!(pages.len() > 40, "{pages:?}");
    for page in pages {
        let folder = Path::new(page).parent().unwrap();
        for link in links(&read(page)) {
            let mut target = std::path::PathBuf::new();
            for part in folder.join(&link).components() {
                match part {
                    std::path::Component::ParentDir => assert!(target.pop(), "{page}: {link}"),
                    part => target.push(part),
                }
            }
            let target = target.to_str().unwrap();
            let inside = format!("{}/", target.trim_end_matches('/'));
            let is = installed.iter().any(|file| *file == target || file.starts_with(&inside));
            assert!(is, "{page} links to {link}, which the package does not have");
        }
    }
}

#[test]
fn a_release_is_a_tarball_a_package_checksums_and_notes() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    let script = path("scripts/release");
    let made = run(script.to_str().unwrap(), &[env!("CARGO_BIN_EXE_chainflume"), dist.to_str().unwrap()]);
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("chainflume-{version}-linux-{}", std::env::consts::ARCH);
    let tarball = dist.join(format!("{name}.tar.gz"));
    let files: BTreeSet<&str> = made.lines().filter(|file| !file.ends_with(".deb")).collect();
    assert_eq!(files, ["NOTES.md", "SHA256SUMS", tarball.file_name().unwrap().to_str().unwrap()].into());
    let mut sums = Command::new("sha256sum");
    let checked = sums.args(["--strict", "-c", "SHA256SUMS"]).current_dir(&dist).output().unwrap();
    assert_fine(&checked);
    assert_eq!(String::from_utf8(checked.stdout).unwrap().lines().count(), 3);
    let notes = std::fs::read_to_string(dist.join("NOTES.md")).unwrap();
    assert!(notes.contains("with glibc 2.") && notes.contains("\n### "), "{notes}");
    assert!(!notes.contains("Unreleased"), "the notes are those of a version: {notes}");

    run("tar", &["-xzf", tarball.to_str().unwrap(), "-C", folder.path().to_str().unwrap()]);
    let tree = folder.path().join(&name);
    let program = tree.join("chainflume");
    assert_eq!(run(program.to_str().unwrap(), &["--version"]), format!("chainflume {version}\n"));
    for file in
        ["README.md", "UPGRADING.md", "config/default.toml", "systemd/chainflume.service", "LICENSE-MIT"]
    {
        assert!(tree.join(file).exists(), "{file}");
    }
    let example = tree.join("chainflume.toml.example");
    run(program.to_str().unwrap(), &["check", "--offline", "--config", example.to_str().unwrap()]);
}
