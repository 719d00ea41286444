//! No two files take from each other, at any distance.
//!
//! Each edge that is part of a cycle is in at least one of the cycles reported: the shortest through it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use crate::edges::{Edges, edges};
use crate::tree::{FileId, Tree};

/// Lines of one edge that a report shows.
const MAX_LINES: usize = 4;

pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    let edges = edges(tree);
    cycles(&edges)
        .iter()
        .map(|cycle| report(tree, &edges, cycle))
        .collect()
}

/// Shortest first. A cycle starts with its smallest file, and its last file takes from its first.
fn cycles(edges: &Edges) -> Vec<Vec<FileId>> {
    let mut givers: BTreeMap<FileId, Vec<FileId>> = BTreeMap::new();
    for (taker, giver) in edges.0.keys() {
        givers.entry(*taker).or_default().push(*giver);
    }
    let mut all = BTreeSet::new();
    for (taker, giver) in edges.0.keys() {
        if let Some(mut cycle) = shortest(&givers, *giver, *taker) {
            let smallest = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
            cycle.rotate_left(smallest);
            all.insert((cycle.len(), cycle));
        }
    }
    all.into_iter().map(|(_, cycle)| cycle).collect()
}

/// Shortest path, both ends included.
fn shortest(
    givers: &BTreeMap<FileId, Vec<FileId>>,
    start: FileId,
    end: FileId,
) -> Option<Vec<FileId>> {
    let mut came_from = BTreeMap::from([(start, start)]);
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        if file == end {
            let mut path = vec![end];
            let mut file = end;
            while file != start {
                file = came_from[&file];
                path.push(file);
            }
            path.reverse();
            return Some(path);
        }
        for next in givers.get(&file).into_iter().flatten() {
            if !came_from.contains_key(next) {
                came_from.insert(*next, file);
                queue.push_back(*next);
            }
        }
    }
    None
}

fn report(tree: &Tree, edges: &Edges, cycle: &[FileId]) -> String {
    let mut text = format!("cycle of {} files:", cycle.len());
    for (at, taker) in cycle.iter().enumerate() {
        let giver = cycle[(at + 1) % cycle.len()];
        let (taker_path, giver_path) = (tree.path(*taker), tree.path(giver));
        let takings: Vec<_> = edges
            .0
            .get(&(*taker, giver))
            .into_iter()
            .flatten()
            .collect();
        let _ = write!(
            text,
            "\n  {} takes from {}:",
            taker_path.display(),
            giver_path.display()
        );
        for taking in takings.iter().take(MAX_LINES) {
            let _ = write!(
                text,
                "\n    {}:{}: {}",
                taker_path.display(),
                taking.line,
                taking.path
            );
        }
        if takings.len() > MAX_LINES {
            let _ = write!(text, "\n    and {} more", takings.len() - MAX_LINES);
        }
    }
    text
}

#[cfg(test)]
mod tests;
