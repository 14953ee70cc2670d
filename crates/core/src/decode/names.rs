use std::collections::BTreeSet;

/// Gives every argument a unique name: an empty name becomes `arg<position>`, a repeated one gets `_2`, `_3` and so on.
/// A name that another argument already has is never used.
pub(crate) fn unique_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted: Vec<String> = names
        .into_iter()
        .enumerate()
        .map(|(i, name)| if name.is_empty() { format!("arg{i}") } else { name.to_owned() })
        .collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let reserved: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let mut unique = Vec::with_capacity(wanted.len());
    for name in &wanted {
        let name = if taken.contains(name) {
            (2u64..)
                .map(|n| format!("{name}_{n}"))
                .find(|candidate| !taken.contains(candidate) && !reserved.contains(candidate.as_str()))
                .unwrap_or_default()
        } else {
            name.clone()
        };
        taken.insert(name.clone());
        unique.push(name);
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::unique_names;

    #[test]
    fn unnamed_arguments_are_numbered_and_repeated_names_suffixed() {
        assert_eq!(unique_names(["", "to", "to", "to_2", ""]), ["arg0", "to", "to_3", "to_2", "arg4"]);
        assert_eq!(unique_names(["arg1", ""]), ["arg1", "arg1_2"]);
    }
}
