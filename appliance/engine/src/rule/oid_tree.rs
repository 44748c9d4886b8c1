//! Rules by OID: a tree by sub-identifier in which nodes with one child are joined, so that finding what fits takes a step or two for
//! each place where rules' OIDs part.

use postern_protocol::oid::Oid;

/// Which OIDs a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    /// Itself and those below it.
    Below,
    /// Itself only.
    Exactly,
}

/// The tree.
#[derive(Clone, Debug, Default)]
pub(super) struct OidTree {
    /// What was added, until the tree is made.
    added: Vec<(Box<[u32]>, Fits, u32)>,
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The numbers that lead here from the parent.
    way: Box<[u32]>,
    exactly: Vec<u32>,
    below: Vec<u32>,
    /// In the order of their first number.
    children: Vec<Node>,
}

impl OidTree {
    /// Adds a rule.
    pub(super) fn add(&mut self, oid: &Oid, fits: Fits, rule: u32) {
        self.added.push((oid.numbers().into(), fits, rule));
    }

    /// Makes the tree of what was added.
    pub(super) fn finish(mut self) -> Self {
        let mut added = std::mem::take(&mut self.added);
        added.sort_unstable();
        self.root = Node::new(&added, 0);
        self
    }

    /// Calls `found` with each list of rules that fit `oid`.
    pub(super) fn find<'t>(&'t self, oid: &Oid, mut found: impl FnMut(&'t [u32])) {
        let mut rest = oid.numbers();
        let mut node = &self.root;
        while let Some(after) = rest.strip_prefix(&*node.way) {
            found(&node.below);
            let Some(next) = after.first() else { return found(&node.exactly) };
            let child = node.children.binary_search_by_key(&Some(next), |child| child.way.first());
            let Some(child) = child.ok().and_then(|at| node.children.get(at)) else { return };
            node = child;
            rest = after;
        }
    }
}

impl Node {
    /// Makes the node of `added`, sorted OIDs whose first `depth` numbers are the same.
    fn new(added: &[(Box<[u32]>, Fits, u32)], depth: usize) -> Self {
        let mut node = Self::default();
        let (Some((first, ..)), Some((last, ..))) = (added.first(), added.last()) else { return node };
        // Sorted, so that what the first and the last share is shared by all; the first is the shortest of those that only go so far.
        let shared = first.iter().zip(last).take_while(|(one, other)| one == other).count();
        node.way = first.get(depth..shared).unwrap_or_default().into();
        for group in added.chunk_by(|(one, ..), (other, ..)| one.get(shared) == other.get(shared)) {
            if group.first().is_some_and(|(oid, ..)| oid.len() > shared) {
                node.children.push(Self::new(group, shared));
                continue;
            }
            for (_, fits, rule) in group {
                match fits {
                    Fits::Below => node.below.push(*rule),
                    Fits::Exactly => node.exactly.push(*rule),
                }
            }
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tree_finds_what_trying_each_finds(
            added in prop::collection::vec((prop::collection::vec(0..3_u32, 0..5), any::<bool>()), 0..40),
            asked in prop::collection::vec(0..3_u32, 0..6),
        ) {
            let oid = |below: &[u32]| Oid::new(&[&[1, 3], below].concat()).unwrap();
            let asked = oid(&asked);
            let mut tree = OidTree::default();
            let mut expected = Vec::new();
            for (rule, (below, exactly)) in (0..).zip(&added) {
                let oid = oid(below);
                tree.add(&oid, if *exactly { Fits::Exactly } else { Fits::Below }, rule);
                if oid == asked || !exactly && asked.strip_prefix(&oid).is_some() {
                    expected.push(rule);
                }
            }
            let mut found = Vec::new();
            tree.finish().find(&asked, |rules| {
                assert!(rules.is_sorted(), "each list is in the order of the document");
                found.extend_from_slice(rules);
            });
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
