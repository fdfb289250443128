"""The options, section by section as watcher.yaml has them: each a frozen model whose fields are the options.

What it promises: a field is an option, with its default, its bounds and its description; messages, the example and the
JSON schema are made from them. Values never change once they are read, and a secret shows as asterisks.

- `section`: the base of all sections
- `inbox`: one inbox, and its subfolders with options of their own
- `sending`: the answer that accepts a receipt, and the hours of sending
- `n8n`, `callback`: the workflow that receipts are sent to; its verdicts
- `http`: the address of callbacks, pages and the API, and the rights of callers
- `database`, `retention`: the job log; the time for which concluded receipts are kept
- `limits`: how large, how many, how long at most
- `notify`, `monitoring`: notices to people; log lines and metrics

Any thread may read them. Nothing is written.
"""
