"""The commands that an admin types.

- `main`, `context`, `table`, `times`, `completion`: the common parts of the commands
- `commands`: the commands, by the word that is typed
- `check`, `setup`, `demo`, `documents`: the work of the larger ones
- `privileges`: the user whose rights a command works with

The only thread of a command runs it.
"""
