"""The options, section by section as watcher.yaml has them: each a frozen model whose fields are the options.

What it promises: a field is an option, with its default, its bounds and its description; messages, the example and the
JSON schema are made from them. Values never change once they are read, and a secret shows as asterisks.

- `section`: what all sections have in common
- `inbox`: one inbox, and its subfolders with options of their own
- `sending`: which answer accepts a receipt, and when receipts are sent
- `n8n`, `callback`: the workflow that receipts are sent to; its word on what became of them
- `http`: where callbacks, pages and the API are served, and who may what
- `database`, `retention`: the job log; how long what is concluded is kept
- `limits`: how large, how many, how long at most
- `notify`, `monitoring`: who is told by notices; log lines and metrics

Any thread may read them. Nothing is written.
"""
