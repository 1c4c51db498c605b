use crate::Error;

pub(crate) const MIN: u32 = 4;
pub(crate) const MAX: u32 = 31;

/// The cost of a hash: 2^cost iterations, with a cost from 4 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u32);

impl Cost {
    /// # Errors
    ///
    /// [`Error::CostOutOfRange`] if `cost` is less than 4 or more than 31.
    pub const fn new(cost: u32) -> Result<Cost, Error> {
        match cost {
            MIN..=MAX => Ok(Cost(cost)),
            _ => Err(Error::CostOutOfRange(cost)),
        }
    }

    /// The cost as a number, from 4 to 31.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number of iterations of a lane with this cost: 2^cost.
    pub const fn iterations(self) -> u32 {
        1 << self.0
    }
}

impl TryFrom<u32> for Cost {
    type Error = Error;

    fn try_from(cost: u32) -> Result<Cost, Error> {
        Cost::new(cost)
    }
}
