use std::collections::BTreeSet;
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

/// Mode and path of each file that cargo-deb would install by the metadata, manual pages compressed.
fn by_the_metadata() -> BTreeSet<String> {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let metadata = &manifest["package"]["metadata"]["deb"];
    let mut files = BTreeSet::new();
    for asset in metadata["assets"].as_array().unwrap() {
        let [from, to, mode] = [0, 1, 2].map(|index| asset[index].as_str().unwrap());
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
    assert_eq!(files.collect::<BTreeSet<_>>(), by_the_metadata());

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
    // Cargo reads the manifests of all members and refuses a target whose file is not there.
    let folder = tempfile::tempdir().unwrap();
    for file in &copied {
        std::os::unix::fs::symlink(path(file), folder.path().join(file)).unwrap();
    }
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]);
    let read = cargo.current_dir(folder.path()).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    for service in ["  chainflume:\n", "  postgres:\n", "  redis:\n"] {
        assert!(compose.contains(service), "{service}");
    }
}
