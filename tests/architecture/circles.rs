//! Circles of modules inside a package: two that use each other can be read only together.
//!
//! Modules are compared with their neighbours in the same folder, each with what is below it. A path ends where the item is defined,
//! also if it leads through a `use` of another module. What a module and its own parts share is no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Token};

/// A module as a path below the root: `["relay", "stream"]`.
type Module = Vec<String>;

/// What the modules of a package use. Calls of methods are not seen: a method may be in any file of its type.
pub struct Uses {
    modules: BTreeSet<Module>,
    /// Names that a module takes from elsewhere, with their paths.
    taken: BTreeMap<(Module, String), Module>,
    paths: Vec<(Module, Module)>,
}

/// A leaf of a `use`, or a path in an expression.
struct Leaf {
    path: Vec<String>,
    name: String,
}

impl Uses {
    /// Reads the files of one package.
    pub fn of(files: &[Source]) -> Self {
        let modules = files.iter().map(module).collect();
        let mut uses = Self { modules, taken: BTreeMap::new(), paths: Vec::new() };
        for file in files {
            uses.read(&module(file), &file.tokens());
        }
        uses
    }

    /// The circles, each as the folder and its modules in alphabetical order.
    pub fn circles(&self) -> Vec<(String, Vec<String>)> {
        let mut circles = Vec::new();
        for (folder, edges) in self.edges() {
            let reached: BTreeMap<&String, BTreeSet<&String>> =
                edges.keys().map(|from| (from, reached(from, &edges))).collect();
            let mut seen = BTreeSet::new();
            for (from, to) in &reached {
                let back =
                    |other: &&&String| reached.get(**other).is_some_and(|further| further.contains(*from));
                let circle: Vec<String> = to.iter().filter(back).map(|name| (*name).clone()).collect();
                if circle.len() > 1 && seen.insert(circle.clone()) {
                    circles.push((folder.join("/"), circle));
                }
            }
        }
        circles
    }

    /// By folder, which of its modules use which.
    fn edges(&self) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
        let mut edges: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, path) in &self.paths {
            let to = self.home(path);
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                edges
                    .entry(from[..common].to_vec())
                    .or_default()
                    .entry(a.clone())
                    .or_default()
                    .insert(b.clone());
            }
        }
        edges
    }

    /// The module in which the item at the end of `path` is defined.
    fn home(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // A name may be passed on a few times; a bound, since two modules may pass on each other's.
        'passed: for _ in 0..8 {
            let mut at = Module::new();
            for (index, step) in path.iter().enumerate() {
                at.push(step.clone());
                if self.modules.contains(&at) {
                    continue;
                }
                at.pop();
                if let Some(target) = self.taken.get(&(at.clone(), step.clone())) {
                    path = [target.as_slice(), &path[index + 1..]].concat();
                    continue 'passed;
                }
                return at;
            }
            return at;
        }
        Module::new()
    }

    fn read(&mut self, module: &Module, tokens: &[Token<'_>]) {
        let words: Vec<&str> =
            tokens.iter().map(|token| if token.is_literal { "" } else { token.text }).collect();
        let mut at = 0;
        while at < words.len() {
            let is_use = words[at] == "use";
            let is_path = matches!(words[at], "crate" | "super" | "self") && words.get(at + 1) == Some(&":");
            if !is_use && !is_path {
                at += 1;
                continue;
            }
            let mut leaves = Vec::new();
            at = tree(&words, if is_use { at + 1 } else { at }, &[], &mut leaves);
            for leaf in leaves {
                let Some(path) = self.below_root(module, &leaf.path) else { continue };
                if is_use {
                    self.taken.insert((module.clone(), leaf.name), path.clone());
                }
                self.paths.push((module.clone(), path));
            }
        }
    }

    /// `path` from the root; `None` for one of another package.
    fn below_root(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut from = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (from, rest) = (Module::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|step| step == "super") {
                    from.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                self.modules.contains(&child).then_some(())?;
            }
        }
        from.extend(rest.iter().cloned());
        Some(from)
    }
}

/// Reads a path with its branches from `at`; returns where it ends.
fn tree(words: &[&str], mut at: usize, before: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut path = before.to_vec();
    loop {
        match words.get(at) {
            Some(&"{") => {
                at += 1;
                while words.get(at).is_some_and(|word| *word != "}") {
                    at = if words[at] == "," { at + 1 } else { tree(words, at, &path, leaves) };
                }
                return at + 1;
            }
            Some(&"*") => return at + 1,
            Some(&"self") if !path.is_empty() => {}
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push((*word).to_owned());
            }
            // A sign that no path has: at least one step on.
            _ => return at + 1,
        }
        at += 1;
        if words.get(at) == Some(&":") && words.get(at + 1) == Some(&":") {
            at += 2;
            continue;
        }
        let name = match words.get(at) {
            Some(&"as") => words.get(at + 1).map(|name| (*name).to_owned()),
            _ => path.last().cloned(),
        };
        at += if words.get(at) == Some(&"as") { 2 } else { 0 };
        leaves.extend(name.map(|name| Leaf { path, name }));
        return at;
    }
}

fn module(file: &Source) -> Module {
    match file.path.trim_end_matches(".rs") {
        "lib" | "main" => Module::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// What is reached from `from`; itself only by a circle.
fn reached<'a>(from: &'a String, edges: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = edges.get(from).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(edges.get(name).into_iter().flatten());
        }
    }
    reached
}
