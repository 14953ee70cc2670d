/// An enum of the words of a label, each written once.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $kind:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$meaning])* $kind,)+
        }

        impl $name {
            /// All of them: their counters begin at zero.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The word in metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }
        }
    };
}

words! {
    /// Why a step of a chain failed.
    StepErrorKind {
        /// No connection to the node.
        Unreachable = "unreachable",
        /// The node did not answer in time.
        Timeout = "timeout",
        /// The answer is not what was asked for.
        BadAnswer = "bad_answer",
        /// The answer is larger than what is read.
        TooLarge = "too_large",
        /// The node is on another chain.
        WrongChain = "wrong_chain",
        /// The node knows no block by the tag.
        NoTag = "no_tag",
        /// The node refuses so many blocks.
        Range = "range",
        /// The node refuses so large an answer.
        Size = "size",
        /// The node refuses so many addresses.
        Addresses = "addresses",
        /// The node gave up after its own time limit.
        Time = "time",
        /// The node is asked too fast.
        Rate = "rate",
        /// What was paid for is used up.
        Quota = "quota",
        /// The node refuses so large a batch.
        Batch = "batch",
        /// The key is wrong or may not ask this.
        Denied = "denied",
        /// The block is above the node's head.
        BeyondHead = "beyond_head",
        /// The node does not know the block.
        UnknownBlock = "unknown_block",
        /// The node has deleted the block.
        Pruned = "pruned",
        /// The node does not offer the method.
        MethodOff = "method_off",
        /// Any other refusal.
        Other = "other",
        /// The database.
        Database = "database",
        /// The chain moved while it was read.
        Moved = "moved",
        /// A reorg would undo a final block.
        TooDeep = "too_deep",
    }
}

words! {
    /// Why a delivery to a sink failed.
    SinkErrorKind {
        /// The database.
        Database = "database",
        /// A stored message cannot be read.
        Message = "message",
        /// No connection to the sink.
        Unreachable = "unreachable",
        /// The certificate of the receiver is not trusted.
        Untrusted = "untrusted",
        /// The sink takes no messages now.
        Unready = "unready",
        /// The sink refuses the credentials or the command.
        Refused = "refused",
        /// The sink lost messages.
        Lost = "lost",
        /// The sink has another message under a number.
        Changed = "changed",
        /// The sink has what this database did not send.
        Foreign = "foreign",
        /// The endpoint wants no more messages.
        Gone = "gone",
        /// The endpoint is elsewhere.
        Redirect = "redirect",
        /// The endpoint refuses the message.
        Rejected = "rejected",
        /// The message is larger than what is sent.
        TooLarge = "too_large",
        /// The address may not be called.
        Forbidden = "forbidden",
        /// The answer cannot be used.
        Unusable = "unusable",
    }
}
