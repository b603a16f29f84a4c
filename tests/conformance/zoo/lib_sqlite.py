import sqlite3
with sqlite3.connect(":memory:") as c: print(c.execute("select 1 + 1, sqlite_version() > '3'").fetchone())
