"""The status page: one module for each part of it, each a function from a poll to markup."""
