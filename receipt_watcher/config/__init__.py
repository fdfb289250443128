"""The options: what each may be, where values come from, what contradicts.

What it promises: a configuration is whole and consistent, or an error names the key and what to do. Values never
change after they are read; a reload reads new ones.

- `options`: the whole configuration, and what follows from it
- `sections`: the options, with defaults and descriptions, section by section
- `fields`: the same, as fields with their rules in words
- `values`: what a value of a kind may be
- `sources`: environment, credentials, file; how they are merged, and what is wrong with them
- `branches`: what applies in an inbox and in each of its subfolders, resolved
- `consistency`: spools in each other's way, and options that contradict
- `secrets`, `roles`: what is not shown; who may do what
- `schedule`: delivery windows, and times on the office's clock
- `proxies`: through which proxy a URL is reached

The main thread reads it at a start and at a reload. Nothing is written.
"""
