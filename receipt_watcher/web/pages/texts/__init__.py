"""The status page's words, in English and German.

- `language`: a text in the reader's language; numbers, sizes and times in words
- `catalogue`, `trouble_texts`: every text of the pages; those for what is wrong
- `german_codes`: the meaning of codes, in German

Pure; any thread may use it.
"""
