"""Command line: one program, `serl-rt`, with subcommands."""
