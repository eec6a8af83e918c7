"""How a database is reached.

This is the only package that names a dialect in Python, except `reports/views`, which writes the text of views for
each; `tests/test_rooms.py` checks that.
"""
