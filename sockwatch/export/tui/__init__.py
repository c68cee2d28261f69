"""The live view in a terminal. textual is an extra: nothing outside of this folder imports it."""
