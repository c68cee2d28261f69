"""One check a sysctl: does it do nothing, or hurt, for what this host is doing now? One finding collects them."""
