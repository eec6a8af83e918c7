"""How a database is reached. The only room that names a dialect in Python, but for `reports/views`, which
spells the text of views for each; `tests/test_rooms.py` looks."""
