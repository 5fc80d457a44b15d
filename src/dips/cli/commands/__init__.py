"""What a user can type: a function per command, whose annotations are its options and their help."""
