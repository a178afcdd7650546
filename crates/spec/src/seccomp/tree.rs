//! A balanced tree of comparisons over ranges of numbers.
//!
//! Jumps of BPF only lead forward, so the code is made from its end: what is jumped to exists before what jumps. Equal
//! verdicts then share one return, as long as it is near enough.

use super::assembly::{Instruction, Test, give, jump, test};
use super::compile::case_code;
use super::profile::Action;
use super::verdict::Verdict;

/// Farther than this a return is made anew; a conditional jump reaches 255.
const NEAR: usize = 200;

/// Code in reverse. A place is the length of the code when its first instruction had been added.
#[derive(Default)]
struct Reverse {
    code: Vec<Instruction>,
    returns: Vec<(Action, usize)>,
}

/// The code that finds the verdict of the number in the accumulator.
pub(super) fn tree(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    let mut reverse = Reverse::default();
    let start = reverse.halves(ranges);
    // The whole may be one return that stands elsewhere.
    if start != reverse.code.len() {
        reverse.reach(start, 0);
    }
    reverse.code.reverse();
    reverse.code
}

impl Reverse {
    /// Halves the ranges until one is left.
    fn halves(&mut self, ranges: &[(u32, Verdict)]) -> usize {
        match ranges {
            [] => self.give(Action::KillProcess),
            [(_, verdict)] => self.verdict(verdict),
            _ => {
                let (lower, upper) = ranges.split_at(ranges.len() / 2);
                let upper_place = self.halves(upper);
                let lower_place = self.halves(lower);
                // The second may be put off by the jump that the first needs.
                let upper_place = self.reach(upper_place, 1);
                let lower_place = self.reach(lower_place, 0);
                let to = |place: usize| u8::try_from(self.code.len() - place).unwrap_or(u8::MAX);
                self.push(test(Test::GreaterOrEqual, upper[0].0, to(upper_place), to(lower_place)))
            }
        }
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.code.push(instruction);
        self.code.len()
    }

    /// A place from which a conditional jump reaches the code: its own, or that of an unconditional jump to it.
    fn reach(&mut self, place: usize, reserve: usize) -> usize {
        let distance = self.code.len() + reserve - place;
        if distance <= usize::from(u8::MAX) {
            return place;
        }
        self.push(jump(u32::try_from(self.code.len() - place).unwrap_or(u32::MAX)))
    }

    fn give(&mut self, action: Action) -> usize {
        let near = |(known, place): &&(Action, usize)| *known == action && self.code.len() - place <= NEAR;
        if let Some((_, place)) = self.returns.iter().rev().find(near) {
            return *place;
        }
        let place = self.push(give(action.code()));
        self.returns.push((action, place));
        place
    }

    fn verdict(&mut self, verdict: &Verdict) -> usize {
        match verdict {
            Verdict::Always(action) => self.give(*action),
            Verdict::ByArguments(cases, otherwise) => {
                self.push(give(otherwise.code()));
                for (all, action) in cases.iter().rev() {
                    self.code.extend(case_code(all, *action).into_iter().rev());
                }
                self.code.len()
            }
        }
    }
}
