"""The commands that an admin types.

- `main`, `context`, `table`, `times`, `completion`: what holds the commands together
- `commands`: the commands, by the word that is typed
- `check`, `setup`, `demo`, `documents`: what the larger of them do
- `privileges`: whose rights a command works with

The only thread of a command runs it.
"""
