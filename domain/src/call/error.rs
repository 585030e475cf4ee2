//! Why a command on a [`Call`](super::Call) was refused.

use crate::sid::CallSid;

/// A refusal: the command was understood and cannot be. No retry helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the report names {call_sid} as its own parent call")]
    OwnParent { call_sid: CallSid },
    #[error("the dial action of {call_sid} names the call itself as the leg that was dialled")]
    DialledItself { call_sid: CallSid },
    #[error("the call was never announced, so there is nothing to reclassify")]
    NotAnnounced,
    #[error("the call has not ended, so it cannot be frozen")]
    NotEnded,
}
