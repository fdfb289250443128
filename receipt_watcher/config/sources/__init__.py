"""The sources of the options' values: environment, credentials, file, defaults; and mistakes in them.

What it promises: either one configuration that is right as a whole, or one `ConfigError` with every mistake. Nothing is
changed on the way, and no text tells a secret.

- `load`: find the file, merge the sources, check all
- `merged`, `tree`: the merged values, and where each came from; the groups and lists that they stand in
- `yaml_file`: YAML whose scalars stay texts
- `injected`: variables that Kubernetes and Docker inject
- `running`: the configuration of the running daemon, and what differs from that of a command
- `record`: what the daemon of this process keeps of its own configuration
- `mistakes`: what is wrong with a value and what would be right, in words

The main thread reads them at a start and at a reload. Nothing is written.
"""
