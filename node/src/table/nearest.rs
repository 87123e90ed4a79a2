//! The name that was probably meant, for errors about unknown names.
//!
//! Knows nothing of what the names stand for.

/// Names longer than this are compared by their beginning.
const COMPARED_CHARACTERS_MAX: usize = 64;

/// Names that are listed at most.
const LISTED_MAX: usize = 24;

/// A hint for an unknown `name`: the nearest of `known`, or those that there are, the first of them when they are many; empty when there are none.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(best) = nearest(name, &known) {
        return format!("did you mean `{best}`?");
    }
    list(&known)
}

/// As [`did_you_mean`], but with all names also where one is near: whoever meant another sees which there are.
pub(super) fn did_you_mean_of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, &known) {
        Some(best) if known.len() > 1 => format!("did you mean `{best}`? {}", list(&known)),
        _ => did_you_mean(name, known),
    }
}

fn list(known: &[&str]) -> String {
    match known.len() {
        0 => String::new(),
        count if count <= LISTED_MAX => format!("known are {}", known.join(", ")),
        count => format!("known are {} and {} more", known[..LISTED_MAX].join(", "), count - LISTED_MAX),
    }
}

/// The candidate that differs from `name` by case only, or else by the fewest edits, at most about a third of its length.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if let Some(same) = known.iter().find(|candidate| candidate.eq_ignore_ascii_case(name)) {
        return Some(same);
    }
    let limit = (name.chars().count() + 1) / 3;
    let distances = known.iter().map(|candidate| (edit_distance(name, candidate), *candidate));
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours (each once) that turn `a` into `b`, ignoring case.
fn edit_distance(a: &str, b: &str) -> usize {
    let characters = |text: &str| -> Vec<char> { text.to_lowercase().chars().take(COMPARED_CHARACTERS_MAX).collect() };
    let (a, b) = (characters(a), characters(b));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut cost = (above[j - 1] + usize::from(a[i - 1] != b[j - 1])).min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (a, b, expected) in [("", "", 0), ("abc", "", 3), ("abc", "abd", 1), ("acb", "abc", 1), ("kitten", "sitting", 3)] {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(did_you_mean("retention.m", ["retention.ms", "compression"]), "did you mean `retention.ms`?");
        assert_eq!(did_you_mean("ID", ["user", "id"]), "did you mean `id`?");
        assert_eq!(did_you_mean("zzz", ["a", "b"]), "known are a, b");
        assert_eq!(did_you_mean("zzz", []), "");
        assert_eq!(did_you_mean_of("prise", ["id", "price"]), "did you mean `price`? known are id, price");
        assert_eq!((did_you_mean_of("ID", ["id"]), did_you_mean_of("z", ["id"])), ("did you mean `id`?".into(), "known are id".into()));
        let many: Vec<String> = (10..40).map(|number| format!("n{number}")).collect();
        let hint = did_you_mean("zzz", many.iter().map(String::as_str));
        assert!(hint.starts_with("known are n10, n11") && hint.ends_with(", n33 and 6 more"), "{hint}");
    }
}
