"""The commands, a module for each noun. Each is imported with the command line, and imports the rest when it runs."""
