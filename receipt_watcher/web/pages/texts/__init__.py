"""The status page's words, in English and German.

- `language`: a text in the reader's language; how numbers, sizes and times are written
- `catalogue`: every text of the pages
- `german_codes`: what codes mean, in German

Pure; any thread may use it.
"""
