//! Random tables: a merge engine, its options, and what the log holds.
//!
//! Invariant: what is chosen here is what docs/merge-engines.md allows, said once more. Knows nothing of rows.

use super::rows::{COLUMNS, Kind, columns};
use crate::store::{Change, ChangeType};

/// A seeded source of numbers (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from `low` to `high`, both among them.
    pub(super) fn within(&mut self, low: i64, high: i64) -> i64 {
        low + (self.roll() % (high - low + 1) as u64) as i64
    }

    /// Whether something that happens `percent` times in a hundred does.
    pub(super) fn happens(&mut self, percent: i64) -> bool {
        self.within(0, 99) < percent
    }

    /// One of these.
    pub(super) fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.within(0, all.len() as i64 - 1) as usize]
    }
}

/// A merge engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Deduplicate,
    FirstRow,
    PartialUpdate,
    Aggregation,
}

/// What retractions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retractions {
    /// What the engine does of itself.
    Plain,
    /// Nothing.
    Ignored,
    /// A delete removes the row.
    Remove,
}

/// What the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Input,
    Lookup,
    LookupWal,
}

/// How a column is aggregated.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) function: &'static str,
    /// Whether its own option says so, not the default.
    is_own: bool,
    pub(super) ignores: bool,
    pub(super) distinct: bool,
    pub(super) delimiter: &'static str,
    pub(super) nested_key: &'static str,
}

impl Rule {
    fn by_default(function: &'static str) -> Rule {
        Rule { function, is_own: false, ignores: false, distinct: false, delimiter: ",", nested_key: "" }
    }
}

/// Columns that go by a sequence of their own.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) sequence: Vec<usize>,
    pub(super) members: Vec<usize>,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) engine: Engine,
    pub(super) retractions: Retractions,
    pub(super) log: Log,
    pub(super) buckets: u32,
    pub(super) columns: Vec<(&'static str, Kind)>,
    /// Of `sequence.field`.
    pub(super) sequence: Vec<usize>,
    pub(super) groups: Vec<Group>,
    default: Option<&'static str>,
    /// For each column, if it is aggregated.
    pub(super) rules: Vec<Option<Rule>>,
}

const RETRACTABLE: [&str; 8] = ["sum", "product", "count", "last_value", "last_non_null_value", "collect", "merge_map", "nested_update"];

/// Functions that do not go by a sequence.
const UNORDERED: [&str; 6] = ["last_non_null_value", "first_value", "first_non_null_value", "listagg", "merge_map", "nested_update"];

/// Functions of all columns.
const ANY: [&str; 4] = ["last_value", "last_non_null_value", "first_value", "first_non_null_value"];

/// Functions that not every column has.
fn functions(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Int64 | Kind::Int8 => &["sum", "product", "count", "max", "min"],
        Kind::Decimal(_, 0) | Kind::Float => &["sum", "product", "max", "min"],
        Kind::Decimal(..) => &["sum", "max", "min"],
        Kind::Text => &["listagg", "listagg", "max", "min"],
        Kind::Flag => &["bool_and", "bool_or", "max"],
        Kind::Items => &["collect"],
        Kind::Entries => &["merge_map"],
        Kind::Parts => &["nested_update", "nested_update", "collect"],
        Kind::Narrow => &["rbm32"],
        Kind::Wide => &["rbm64"],
    }
}

impl Plan {
    /// One of an engine.
    pub(super) fn of(engine: Engine, seed: u64) -> Plan {
        let mut dice = Dice(seed);
        let log = dice.choose(&[Log::Input, Log::Input, Log::Lookup, Log::LookupWal]);
        let (buckets, columns) = (dice.choose(&[1, 1, 2]), columns(dice.happens(50)));
        Plan::new(engine, log, buckets, columns, &mut dice)
    }

    fn new(engine: Engine, log: Log, buckets: u32, columns: Vec<(&'static str, Kind)>, dice: &mut Dice) -> Plan {
        let retractions = match engine {
            Engine::Deduplicate | Engine::FirstRow => dice.choose(&[Retractions::Plain, Retractions::Ignored]),
            _ => dice.choose(&[Retractions::Plain, Retractions::Plain, Retractions::Ignored, Retractions::Remove, Retractions::Remove]),
        };
        let (sequence, groups, rules) = (Vec::new(), Vec::new(), vec![None; COLUMNS.len()]);
        let mut plan = Plan { engine, retractions, log, buckets, columns, sequence, groups, default: None, rules };
        match engine {
            Engine::Deduplicate => plan.sequence = dice.choose::<&[usize]>(&[&[], &[0], &[0, 1], &[1, 0]]).to_vec(),
            Engine::FirstRow => {}
            Engine::PartialUpdate => plan.add_groups(dice),
            Engine::Aggregation => plan.aggregate(dice),
        }
        plan
    }

    /// The same table, whose rows are merged in another way.
    pub(super) fn altered(&self, seed: u64) -> Plan {
        let mut dice = Dice(seed);
        let engine = dice.choose(&[Engine::Deduplicate, Engine::FirstRow, Engine::PartialUpdate, Engine::Aggregation, Engine::Aggregation]);
        let mut plan = Plan::new(engine, self.log, self.buckets, self.columns.clone(), &mut dice);
        for column in (0..plan.columns.len()).filter(|column| self.columns[*column].1 == Kind::Float) {
            let before = self.function(column);
            // Numbers that came for another function may not add up without rounding.
            if let Some(rule) =
                plan.rules[column].as_mut().filter(|rule| ["sum", "product"].contains(&rule.function) && before != Some(rule.function))
            {
                rule.function = "max";
            }
        }
        plan
    }

    /// What makes this of the table that it was.
    pub(super) fn changes_since(&self, before: &Plan) -> Vec<Change> {
        let (old, new) = (before.options(), self.options());
        let is_gone = |name: &&String| new.iter().all(|(kept, _)| kept != *name);
        let gone = old.iter().map(|(name, _)| name).filter(is_gone).map(|name| Change::reset_option(name));
        let is_fixed = |name: &str| name.starts_with("changelog");
        gone.chain(new.iter().filter(|(name, _)| !is_fixed(name)).map(|(name, value)| Change::set_option(name, value))).collect()
    }

    fn add_groups(&mut self, dice: &mut Dice) {
        let sequences: &[&[usize]] = dice.choose::<&[&[usize]]>(&[&[], &[&[0]], &[&[0], &[1]], &[&[1, 0]]]);
        let mut free: Vec<usize> = (2..self.columns.len()).collect();
        self.default = dice.happens(25).then_some("last_value");
        for sequence in sequences {
            let mut members = Vec::new();
            free.retain(|column| {
                let joins = dice.happens(50);
                if joins {
                    members.push(*column);
                }
                !joins
            });
            for &member in &members {
                self.rules[member] = match dice.happens(60) {
                    true => Some(self.rule(dice, member, true)),
                    false => self.default.map(Rule::by_default),
                };
            }
            // A group of a sequence alone has nothing to say.
            self.groups.extend((!members.is_empty()).then(|| Group { sequence: sequence.to_vec(), members }));
        }
    }

    fn aggregate(&mut self, dice: &mut Dice) {
        let has_sequence = dice.happens(30);
        if has_sequence {
            self.sequence = dice.choose::<&[usize]>(&[&[0], &[1], &[0, 1]]).to_vec();
            self.default = Some("last_value");
        } else {
            self.default = dice.choose(&[None, None, Some("last_value"), Some("first_value"), Some("first_non_null_value")]);
        }
        let takes_retractions = dice.happens(70);
        for column in (0..self.columns.len()).filter(|column| !self.sequence.contains(column)).collect::<Vec<_>>() {
            let mut rule = self.rule(dice, column, has_sequence);
            if dice.happens(15) {
                rule = Rule::by_default(self.default.unwrap_or("last_non_null_value"));
            }
            let may_ignore = !has_sequence || rule.function != "last_value";
            rule.ignores = may_ignore && (dice.happens(25) || takes_retractions && !RETRACTABLE.contains(&rule.function));
            self.rules[column] = Some(rule);
        }
    }

    fn rule(&self, dice: &mut Dice, column: usize, has_sequence: bool) -> Rule {
        let special: Vec<&str> = functions(self.columns[column].1).to_vec();
        let fits = |function: &&'static str| !has_sequence || !UNORDERED.contains(function);
        let special: Vec<&'static str> = special.into_iter().filter(fits).collect();
        let any: Vec<&'static str> = ANY.into_iter().filter(fits).collect();
        let function = if !special.is_empty() && dice.happens(70) { dice.choose(&special) } else { dice.choose(&any) };
        let is_distinct = dice.happens(50);
        Rule {
            function,
            is_own: true,
            ignores: false,
            distinct: is_distinct && ["listagg", "collect"].contains(&function),
            delimiter: dice.choose(&[",", ";", ", "]),
            nested_key: dice.choose(&["", "id", "id,value"]),
        }
    }

    fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|column| self.columns[*column].0).collect::<Vec<_>>().join(",")
    }

    /// The options that say so.
    pub(super) fn options(&self) -> Vec<(String, String)> {
        let engine = match self.engine {
            Engine::Deduplicate => "deduplicate",
            Engine::FirstRow => "first-row",
            Engine::PartialUpdate => "partial-update",
            Engine::Aggregation => "aggregation",
        };
        let mut options: Vec<(String, String)> = vec![("merge-engine".into(), engine.into())];
        let mut add = |name: String, value: &str| options.push((name, value.to_string()));
        match self.retractions {
            Retractions::Plain => {}
            Retractions::Ignored => add("ignore-delete".into(), "true"),
            Retractions::Remove => add(format!("{engine}.remove-record-on-delete"), "true"),
        }
        match self.log {
            Log::Input => {}
            Log::Lookup => add("changelog-producer".into(), "lookup"),
            Log::LookupWal => {
                add("changelog-producer".into(), "lookup");
                add("changelog.image".into(), "wal");
            }
        }
        if !self.sequence.is_empty() {
            add("sequence.field".into(), &self.names(&self.sequence));
        }
        for group in &self.groups {
            add(format!("fields.{}.sequence-group", self.names(&group.sequence)), &self.names(&group.members));
        }
        if let Some(default) = self.default {
            add("fields.default-aggregate-function".into(), default);
        }
        for ((name, _), rule) in self.columns.iter().zip(&self.rules).filter_map(|(column, rule)| Some((column, rule.as_ref()?))) {
            if rule.is_own {
                add(format!("fields.{name}.aggregate-function"), rule.function);
            }
            if rule.ignores {
                add(format!("fields.{name}.ignore-retract"), "true");
            }
            if rule.distinct {
                add(format!("fields.{name}.distinct"), "true");
            }
            match rule.function {
                "listagg" => add(format!("fields.{name}.list-agg-delimiter"), rule.delimiter),
                "nested_update" if !rule.nested_key.is_empty() => add(format!("fields.{name}.nested-key"), rule.nested_key),
                _ => {}
            }
        }
        options
    }

    /// Whether a row of this kind may be written.
    pub(super) fn takes(&self, kind: ChangeType) -> bool {
        let all_take = || self.rules.iter().flatten().all(|rule| rule.ignores || RETRACTABLE.contains(&rule.function));
        match (self.engine, self.retractions) {
            _ if !super::rows::is_retraction(kind) => true,
            (_, Retractions::Ignored) | (Engine::Deduplicate, _) => true,
            (Engine::FirstRow, _) | (Engine::PartialUpdate, Retractions::Plain) => false,
            (Engine::PartialUpdate, _) => true,
            (Engine::Aggregation, Retractions::Remove) if kind == ChangeType::Delete => true,
            (Engine::Aggregation, _) => all_take(),
        }
    }

    /// Whether a row of this kind comes to the columns as one that takes their values back.
    pub(super) fn takes_back(&self, kind: ChangeType) -> bool {
        let comes = match self.retractions {
            Retractions::Plain => super::rows::is_retraction(kind),
            Retractions::Ignored => false,
            Retractions::Remove => kind == ChangeType::UpdateBefore,
        };
        self.engine == Engine::Aggregation && comes
    }

    /// Whether the log holds what became of rows.
    pub(super) fn has_images(&self) -> bool {
        self.log != Log::Input
    }

    /// The function of a column, if it is aggregated.
    pub(super) fn function(&self, column: usize) -> Option<&'static str> {
        self.rules[column].as_ref().map(|rule| rule.function)
    }
}
