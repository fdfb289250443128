"""`service install` and `service uninstall`.

- `steps`: user, folders, units, configuration
- `program`: the copy of the program that the service runs

A crash leaves steps undone; a second run does them.
"""
