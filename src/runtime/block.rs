//! Generations are never used twice, not even by the next daemon: an upper bound of those given out is kept in the run
//! state. It is written ahead, a block at a time, so that a start costs no write.

use std::fs;
use std::path::PathBuf;

use woodward_engine::Gen;

/// So many generations are given out before the next write.
const BLOCK: u64 = 10_000;

/// The upper bound.
pub(super) struct Block {
    file: Option<PathBuf>,
    bound: u64,
}

impl Block {
    /// Reads `file`; without one, nothing outlives this process and nothing is kept.
    pub(super) fn open(file: Option<PathBuf>) -> Block {
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        Block { file, bound: text.and_then(|text| text.trim().parse().ok()).unwrap_or(0) }
    }

    /// Generations up to this one may have been given out.
    pub(super) fn bound(&self) -> Gen {
        Gen(self.bound)
    }

    /// This one is given out: to be called before anything is started under it.
    pub(super) fn cover(&mut self, generation: Gen) -> std::io::Result<()> {
        if generation.0 <= self.bound {
            return Ok(());
        }
        let bound = generation.0 + BLOCK;
        if let Some(file) = &self.file {
            let new = file.with_extension("new");
            fs::write(&new, format!("{bound}\n"))?;
            fs::rename(&new, file)?;
        }
        self.bound = bound;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_generation_is_given_out_twice() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("generations");
        let mut first = Block::open(Some(file.clone()));
        assert_eq!(first.bound(), Gen(0));
        for generation in [1, 2, BLOCK + 1, BLOCK + 2] {
            first.cover(Gen(generation)).unwrap();
        }
        let second = Block::open(Some(file));
        assert!(second.bound() > Gen(BLOCK + 2));
    }
}
