"""`service install` and `service uninstall`.

- `steps`: the steps in their order
- `host`: the machine that is changed, and its services while the program is replaced
- `places`: the places of files, units and receipts
- `files`: steps for one file or folder
- `spools`, `configuration`: steps for the folders of receipts, and for watcher.yaml
- `program`: the copy of the program that the service runs

A crash leaves steps undone; a second run does them.
"""
