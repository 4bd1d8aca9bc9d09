"""The command line `outlive`: see `docs/cli.md`."""
