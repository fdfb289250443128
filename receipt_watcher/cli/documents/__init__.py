"""Documents that are made from the code: the example file, the schema, the manual.

- `example`, `json_schema`, `origins`: options with their descriptions; for editors; where values come from
- `manual`: pages for man
"""
